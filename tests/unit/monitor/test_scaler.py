"""Queues that follow their load, on a virtual clock, with scripted workers and a source that is written out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from procq import intent
from procq.events import Rescaled
from procq.meter import Used
from procq.model import After, Manifest, Queue, Readiness, Share, UpdatePolicy, WorkerId
from procq.monitor.follow import Follow
from procq.monitor.host import Host
from procq.monitor.scaler import Scaler
from procq.rules import Period, ScaleRule, Source
from procq.scaling.guard import Pressure
from procq.scaling.place import Place
from procq.scaling.policy import Decision, Poll
from procq.scaling.reading import Reading
from procq.scaling.sources.port import Kind, SourceError
from procq.state import EMPTY_QUEUE, Dead, Running
from procq.testing.rig import Rig
from procq.testing.script import Casting, Script, everyone
from tests.queues import manifest, queue
from tests.unit.monitor.virtual import Heard, nothing, play

EIGHT = 8 * 3600.0
"""Eight o'clock of a day that nobody remembers, in seconds since the epoch."""


class Broker:
    """What sources say: by queue, how many jobs wait and how many are at work; None hangs, an error is raised."""

    def __init__(self) -> None:
        self.says: dict[str, Reading | Exception | None] = {}
        self.asked: list[str] = []
        self.kept: set[str] = set()
        self._hangs: asyncio.Event | None = None

    async def read(self, place: Place, within: float) -> Reading:
        self.asked.append(place.queue)
        said = self.says.get(place.queue, Reading(0, 0))
        if said is None:
            self._hangs = asyncio.Event()
            await self._hangs.wait()
            return await self.read(place, within)
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, Reading)
        return said

    def answer(self) -> None:
        """Who hangs goes on."""
        if self._hangs is not None:
            self._hangs.set()

    def keep(self, servers: Iterable[str]) -> None:
        self.kept = set(servers)

    async def aclose(self) -> None: ...


class Trial:
    def __init__(self, *queues: Queue, wall: float = EIGHT - 3600, casting: Casting | None = None) -> None:
        self.rig = Rig(manifest(*queues), casting)
        self.told: list[str] = []
        self.broker = Broker()
        self.heard = Heard(self.rig)
        self.began = wall - self.rig.clock.now
        self.scaler = self._scaler()

    def _scaler(self) -> Scaler:
        engine, clock = self.rig.engine, self.rig.clock
        self.host = Host(self._idle, Pressure)
        wall = lambda: self.began + clock.now  # noqa: E731
        return Scaler(engine, self.host, tell=self.told.append, sources=self.broker, wall=wall)

    @staticmethod
    def _idle(roots: Sequence[tuple[int, int]]) -> list[Used]:
        return [(0.0, 1 << 20, 1, 1) for _ in roots]

    def play(self, *steps: tuple[float, object]) -> None:
        play(self.rig, self.scaler.run(), *steps)  # type: ignore[arg-type]

    def alive(self, name: str = "emails") -> int:
        workers = self.rig.engine.snapshot().observed.queues[name].workers if name in self.known else {}
        return sum(isinstance(state, Running) for state in workers.values())

    def ready(self, name: str = "emails") -> int:
        workers = self.rig.engine.snapshot().observed.queues[name].workers if name in self.known else {}
        return sum(isinstance(state, Running) and state.ready is not None for state in workers.values())

    def trouble(self) -> str:
        return self.scaler.standings(self.rig.clock.now)["emails"].trouble

    def slots(self, name: str = "emails") -> set[int]:
        workers = self.rig.engine.snapshot().observed.queues[name].workers
        return {slot for slot, state in workers.items() if isinstance(state, Running)}

    def there(self) -> int:
        """All that live, those that leave included."""
        queues = self.rig.engine.snapshot().observed.queues.values()
        return sum(not isinstance(state, Dead) for each in queues for state in each.workers.values())

    @property
    def known(self) -> set[str]:
        return set(self.rig.engine.snapshot().observed.queues)


def scaled(name: str = "emails", least: int = 0, most: int = 10, rule: ScaleRule | None = None) -> Queue:
    url = f"rq://127.0.0.1/0?queue={name}"
    return replace(queue(name, least), most=most, source=Source(url), scale=rule or ScaleRule(wait=5.0))


def test_workers_come_with_the_jobs_and_go_after_them() -> None:
    trial, seen = Trial(scaled()), []
    trial.play(
        (10.0, lambda: trial.broker.says.update(emails=Reading(6, 0))),
        (8.0, lambda: seen.append(trial.alive())),
        (0.0, lambda: trial.broker.says.update(emails=Reading(0, 6))),
        (100.0, lambda: seen.append(trial.alive())),
        (0.0, lambda: trial.broker.says.update(emails=Reading(0, 0))),
        (200.0, lambda: seen.append(trial.alive())),
    )
    assert seen == [6, 6, 0]
    told = trial.heard.of(Rescaled)
    assert (told[0].before, told[-1].after) == (0, 0)
    assert all(one.after == other.before for one, other in pairwise(told))


def test_nobody_is_asked_where_nothing_scales() -> None:
    trial = Trial(queue("emails", 2))
    trial.play((100.0, nothing))
    assert trial.broker.asked == []
    assert trial.alive() == 2


FAILURES: dict[str, tuple[Reading | Exception | None, str]] = {
    "refused": (SourceError(Kind.REFUSED, "nobody is there"), "nobody is there"),
    "timeout": (SourceError(Kind.TIMEOUT, "no answer"), "no answer"),
    "auth": (SourceError(Kind.AUTH, "it wants a password"), "it wants a password"),
    "garbage": (SourceError(Kind.GARBAGE, "this is no number"), "this is no number"),
    "no number": (Reading(float("nan")), "the source says waiting = nan, which cannot be"),
    "negative": (Reading(-1), "the source says waiting = -1, which cannot be"),
    "raises": (ZeroDivisionError("odd"), "the source has failed: ZeroDivisionError: odd"),
    "hangs": (None, ""),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_source_that_fails_lowers_nothing_and_others_go_on(kind: str) -> None:
    said, words = FAILURES[kind]
    trial, seen, thumbs = Trial(scaled(least=1), scaled("thumbs")), [], []
    trial.broker.says["emails"] = Reading(0, 4)
    trial.play(
        (5.0, lambda: trial.rig.engine.rescale({"emails": 4}, {})),
        (5.0, lambda: trial.broker.says.update(emails=said)),
        (90.0, lambda: trial.broker.says.update(thumbs=Reading(3, 0))),
        (8.0, lambda: thumbs.append(trial.alive("thumbs"))),
        (1000.0, lambda: seen.append((trial.alive(), trial.trouble()))),
        (0.0, lambda: trial.broker.says.update(emails=Reading(0, 0))),
        (0.0, trial.broker.answer),
        (200.0, lambda: seen.append((trial.alive(), trial.trouble()))),
    )
    assert thumbs == [3]
    assert seen == [(4, words), (1, "")]
    told = [event.after for event in trial.heard.of(Rescaled) if event.queue == "emails"]
    assert told[:-1] == sorted(told[:-1])


def test_an_empty_queue_of_thousands_is_asked_for_twice() -> None:
    trial, said = Trial(scaled(most=4)), []
    trial.broker.says["emails"] = Reading(5_000, 0)

    async def once(place: Place, within: float) -> Reading:
        said.append(trial.rig.clock.now)
        return Reading(0, 0) if len(said) == 20 else Reading(5_000, 4)

    trial.broker.read = once  # type: ignore[method-assign]
    trial.play((60.0, nothing))
    assert said[20] - said[19] < 0.6
    assert [event.after for event in trial.heard.of(Rescaled)] == [4]


def test_a_fallback_holds_once_the_source_has_been_silent_for_long() -> None:
    trial, seen = Trial(scaled(rule=ScaleRule(wait=5.0, fallback=3))), []
    trial.broker.says["emails"] = SourceError(Kind.TIMEOUT, "no answer")
    trial.play(
        (200.0, lambda: seen.append(trial.alive())),
        (200.0, lambda: seen.append(trial.alive())),
    )
    assert seen == [0, 3]


def test_a_source_that_hangs_holds_up_nobody_else() -> None:
    trial = Trial(scaled(), scaled("thumbs"))
    trial.broker.says.update(emails=None, thumbs=Reading(3, 0))
    trial.play((12.0, nothing))
    assert (trial.alive(), trial.alive("thumbs")) == (0, 3)
    assert trial.broker.asked.count("emails") == 1


def test_what_a_person_says_wins_until_it_is_given_back() -> None:
    trial, seen = Trial(scaled()), []
    engine = trial.rig.engine
    trial.broker.says["emails"] = Reading(0, 0)
    trial.play(
        (5.0, lambda: engine.change(lambda i: intent.scale(i, "emails", intent.ScaleTo(7)), "test")),
        (60.0, lambda: seen.append(trial.alive())),
        (0.0, lambda: engine.change(lambda i: intent.scale(i, "emails", intent.Auto()), "test")),
        (60.0, lambda: seen.append(trial.alive())),
    )
    assert seen == [7, 0]


def test_a_schedule_gives_a_floor_for_its_time() -> None:
    office = Period("0 8 * * *", 600.0, "UTC", least=4)
    trial, seen = Trial(replace(scaled(), source=None, scale=None, schedule=(office,)), wall=EIGHT - 60), []
    trial.play(
        (50.0, lambda: seen.append(trial.alive())),
        (30.0, lambda: seen.append(trial.alive())),
        (600.0, lambda: seen.append(trial.alive())),
    )
    assert seen == [0, 4, 0]


def test_another_control_plane_goes_on_with_what_there_was() -> None:
    trial = Trial(scaled(least=1))
    trial.broker.says["emails"] = Reading(0, 5)
    trial.play((5.0, lambda: trial.rig.engine.rescale({"emails": 5}, {})), (20.0, nothing))
    assert trial.alive() == 5
    pids = {s: w for s, w in trial.rig.engine.snapshot().observed.queues["emails"].workers.items()}
    trial.rig.replace_control_plane()
    trial.scaler = trial._scaler()
    trial.broker.says["emails"] = SourceError(Kind.REFUSED, "nobody is there")
    trial.play((60.0, nothing))
    now = trial.rig.engine.snapshot().observed.queues["emails"].workers
    assert {slot: state.generation for slot, state in now.items()} == {s: w.generation for s, w in pids.items()}
    assert trial.rig.engine.learnt["emails"]


def test_a_saved_range_counts_at_once() -> None:
    trial, seen = Trial(scaled(least=1, most=10)), []
    trial.broker.says["emails"] = Reading(0, 8)
    trial.play(
        (5.0, lambda: trial.rig.engine.rescale({"emails": 8}, {})),
        (10.0, lambda: trial.rig.adopt(manifest(scaled(least=1, most=3)))),
        (0.5, lambda: seen.append(trial.rig.engine.intent and intent.wanted_in_all(trial.rig.engine.intent))),
        (5.0, lambda: trial.rig.adopt(manifest(scaled(least=5, most=9)))),
        (0.5, lambda: seen.append(trial.alive())),
    )
    assert seen == [3, 5]


def test_all_together_keep_within_the_budget() -> None:
    wanted = replace(manifest(scaled(), scaled("thumbs"), queue("cron", 2)), budget=10)
    trial = Trial(scaled())
    trial.rig.adopt(wanted)
    most = []
    trial.broker.says.update(emails=Reading(50, 0), thumbs=Reading(50, 0))

    def look() -> None:
        most.append((trial.alive(), trial.alive("thumbs"), trial.alive("cron")))

    trial.play(*(((1.0), look) for _ in range(30)))
    assert most[-1] == (4, 4, 2)
    assert max(map(sum, most)) <= 10


# --- while workers are replaced, or cannot work ---------------------------------------------------------------------


def busy_with(workers: int, queue: Queue, wanted: Manifest | None = None) -> Trial:
    """A trial in which so many workers are there, and all of them at a job by the broker's account."""
    trial = Trial(queue)
    if wanted is not None:
        trial.rig.adopt(wanted)
    trial.broker.says["emails"] = Reading(0, workers)
    trial.rig.engine.rescale({"emails": workers}, {})
    trial.rig.advance(10.0)
    return trial


@pytest.mark.parametrize("rolling", [True, False])
@pytest.mark.parametrize("said", [None, SourceError(Kind.REFUSED, "nobody is there")])
def test_faults_57_workers_that_are_replaced_are_not_too_many(rolling: bool, said: SourceError | None) -> None:
    trial, least = busy_with(8, scaled()), []
    engine = trial.rig.engine

    def replace_all() -> None:
        engine.change(lambda i: intent.restart(i, ["emails"], engine.last_generation, rolling), "test")

    def look() -> None:
        assert engine.intent is not None
        least.append(intent.wanted_in_all(engine.intent))

    fail = said or Reading(0, 8)
    trial.play(
        (10.0, lambda: trial.broker.says.update(emails=fail)),
        (20.0, replace_all),
        *((1.0, look) for _ in range(60)),
        (0.0, lambda: least.append(trial.alive())),
    )
    assert set(least) == {8}
    assert trial.told == []


def test_those_who_stand_in_during_a_roll_out_drive_nothing_up() -> None:
    slow = replace(scaled(most=40), ready=Readiness(After(3.0)), update=UpdatePolicy(surge=Share(50, percent=True)))
    trial, most = busy_with(6, slow), []
    other = replace(slow, command="other", argv=("other",))

    def look() -> None:
        assert trial.rig.engine.intent is not None
        most.append(intent.wanted_in_all(trial.rig.engine.intent))

    trial.play((10.0, lambda: trial.rig.adopt(manifest(other))), *((1.0, look) for _ in range(60)))
    assert set(most) == {6}


def test_slots_in_which_nobody_works_are_made_good() -> None:
    trial, seen = Trial(scaled()), []
    engine = trial.rig.engine
    engine.change(lambda i: intent.stop(i, [WorkerId("emails", 1)]), "test")
    trial.broker.says["emails"] = Reading(1, 0)
    trial.play((20.0, lambda: seen.append(trial.slots())))
    assert seen == [{2}]


def test_a_queue_that_was_given_back_does_not_remember_what_it_wanted_long_ago() -> None:
    trial, seen = busy_with(9, scaled()), []
    engine = trial.rig.engine
    trial.play(
        (10.0, lambda: engine.change(lambda i: intent.scale(i, "emails", intent.ScaleTo(1)), "test")),
        (0.0, lambda: trial.broker.says.update(emails=Reading(0, 0))),
        (600.0, lambda: engine.change(lambda i: intent.scale(i, "emails", intent.Auto()), "test")),
        (0.1, lambda: seen.append(trial.alive())),
    )
    assert seen[0] <= 1


def test_who_still_leaves_counts_against_the_budget_of_others() -> None:
    wanted = replace(manifest(scaled(), scaled("thumbs")), budget=10)
    trial, most = Trial(scaled(), scaled("thumbs"), casting=everyone(Script(leave_after=30.0))), []
    trial.rig.adopt(wanted)
    trial.broker.says["emails"] = Reading(0, 10)
    trial.rig.engine.rescale({"emails": 10}, {})
    trial.play(
        (10.0, lambda: trial.rig.engine.change(lambda i: intent.scale(i, "emails", intent.ScaleTo(0)), "test")),
        (0.0, lambda: trial.broker.says.update(thumbs=Reading(50, 0))),
        *((1.0, lambda: most.append(trial.there())) for _ in range(20)),
    )
    assert max(most) <= 10


def test_boots_are_learnt_and_those_of_earlier_days_are_not() -> None:
    slow = replace(scaled(), ready=Readiness(After(4.0)))
    trial = Trial(slow)
    trial.play((10.0, lambda: trial.broker.says.update(emails=Reading(6, 0))), (30.0, nothing))
    assert trial.scaler.lead("emails") == pytest.approx(1.0 + 4.0, abs=0.5)


def test_a_queue_that_is_removed_between_question_and_decision_ends_nothing() -> None:
    trial = Trial(scaled(), scaled("thumbs"))
    look = trial.host.look

    async def and_remove(*arguments: Any) -> None:
        await look(*arguments)
        trial.rig.adopt(manifest(scaled("thumbs")))

    trial.broker.says["thumbs"] = Reading(2, 0)
    trial.host.look = and_remove  # type: ignore[method-assign, assignment]
    trial.play((20.0, nothing))
    assert trial.alive("thumbs") == 2
    assert trial.told == []


def test_the_fault_of_one_queue_is_told_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = Follow.decide

    def breaks(self: Follow, *arguments: Any) -> Decision:
        if self.queue.name == "emails":
            raise ZeroDivisionError
        return decide(self, *arguments)

    trial = Trial(scaled(), scaled("thumbs"))
    trial.broker.says["thumbs"] = Reading(2, 0)
    monkeypatch.setattr(Follow, "decide", breaks)
    trial.play((20.0, nothing))
    assert trial.alive("thumbs") == 2
    assert len(trial.told) == 1
    assert "emails: ZeroDivisionError" in trial.told[0]


def test_what_is_not_due_yet_is_told_to_the_policy() -> None:
    follow = Follow.begin(scaled(), None, 0.0)
    follow.ask(0.0)
    follow.heard(Reading(5, 0, soon=3), EMPTY_QUEUE, 1.0)
    # By what is assumed of boots, a worker would be there in 2.3 s.
    assert follow.poll == Poll(1.0, 5, 0, running=0, soon=3, within=3.0)


def test_a_source_that_is_asked_seldom_is_asked_for_what_is_due_until_then() -> None:
    follow = Follow.begin(replace(scaled(), source=Source("rq://127.0.0.1/0", every=60.0)), None, 0.0)
    follow.ask(0.0)
    assert follow.within >= 60.0 + follow.policy.lead
    follow.heard(Reading(5, 0, soon=3), EMPTY_QUEUE, 1.0)
    assert follow.due_at(1.0) == 60.0


def test_delayed_jobs_find_workers_that_have_booted() -> None:
    """Six jobs are due at the same moment, which is known before; workers take four seconds to be ready."""
    due = 100.0
    told: list[float] = []

    class Cliff(Broker):
        async def read(self, place: Place, within: float) -> Reading:
            left = due - trial.rig.clock.now
            if left <= within:
                told.append(left)
            before = Reading(6 * (left > 90.0), 0, delayed=6)
            return Reading(6, 0, 0, soon=6.0 * (left > 0)) if left <= within else before

    trial, seen = Trial(replace(scaled(), ready=Readiness(After(4.0)))), []
    trial.broker = Cliff()
    trial.scaler = trial._scaler()
    due += trial.rig.clock.now
    trial.play(
        (80.0, lambda: seen.append(trial.ready())),
        (20.5, lambda: seen.append(trial.ready())),
    )
    assert (seen[0] < 6, seen[1]) == (True, 6)
    assert 4.0 <= max(told) <= 8.0
