"""How fast workers start: all together within the rate, a queue that fails with few at a time. Virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.engine.port import SpawnWorker
from procq.events import Event, SpawnRequested
from procq.model import Backoff, Limits, Manifest, Notify, Queue, Readiness, RestartPolicy, StartRate, WorkerId
from procq.plan.starts import NO_STARTS, Starts, admit
from procq.state import Running, Starting
from procq.testing import ManifestTest, Rig, Script, exits
from procq.views import About, queue_view
from tests.queues import EMAILS_1, manifest, queue


class Told:
    """A rig whose scripts can be changed, and the starts with their times."""

    def __init__(self, wanted: Manifest, script: Script | None = None) -> None:
        self.script = script or Script()
        self.starts: list[tuple[float, WorkerId]] = []
        self.most_tried = 0
        self.rig = Rig(wanted, lambda *_: self.script, self._happened)

    def _happened(self, events: Sequence[Event]) -> None:
        self.starts += [(e.at, e.worker) for e in events if isinstance(e, SpawnRequested)]
        if hasattr(self, "rig"):
            state = self.rig.engine.snapshot().queue("emails")
            suspects = {s for s, streak in state.streaks.items() if streak.crashes + streak.misses >= 2}
            there = sum(slot in suspects and isinstance(w, Starting | Running) for slot, w in state.workers.items())
            self.most_tried = max(self.most_tried, there)

    def most_in(self, window: float) -> int:
        """The most starts of any window."""
        times = [at for at, _ in self.starts]
        return max(sum(t <= at < t + window for at in times) for t in times)

    def running(self, name: str = "emails") -> int:
        return sum(isinstance(w, Running) for w in self.rig.engine.snapshot().queue(name).workers.values())


def limited(*queues: Queue, number: int = 250, within: float = 1.0) -> Manifest:
    return replace(manifest(*queues), starts=StartRate(number, within))


# --- the rate -------------------------------------------------------------------------------------------------------


@given(
    st.builds(StartRate, st.integers(1, 5), st.sampled_from([0.5, 10.0])),
    st.lists(st.tuples(st.floats(0, 8), st.dictionaries(st.sampled_from("abc"), st.integers(1, 9))), max_size=12),
)
def test_starts_per_window_never_exceed_the_rate(rate: StartRate, looks: list[tuple[float, dict[str, int]]]) -> None:
    """And whoever waits is told the very moment from which on more may start."""
    starts, now, made = NO_STARTS, 0.0, [0.0] * 0
    for pause, wishes in looks:
        now += pause
        granted, starts = admit(wishes, starts, rate, now)
        assert all(0 <= granted[name] <= wish for name, wish in wishes.items())
        made += [now] * sum(granted.values())
        assert all(sum(at <= t < at + rate.within for t in made) <= rate.number for at in made)
        if granted != wishes:
            at = starts.next_at(rate, now)
            assert at > now and starts.free(rate, at) > 0
            assert starts.free(rate, now) == 0
    assert len(starts.log) <= rate.number


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30), min_size=2), st.integers(1, 7))
def test_queues_take_turns(wishes: dict[str, int], number: int) -> None:
    """Until one has all it wants no other one gets more than a round's share more."""
    rate, starts, now = StartRate(number, 1.0), NO_STARTS, 0.0
    had = dict.fromkeys(wishes, 0)
    while left := {name: wish - had[name] for name, wish in wishes.items() if wish > had[name]}:
        granted, starts = admit(left, starts, rate, now)
        assert sum(granted.values()) == min(number, sum(left.values())), "no start is given away"
        had = {name: n + granted.get(name, 0) for name, n in had.items()}
        hungry = [had[name] for name in left]
        assert max(hungry) - min(hungry) <= max(1, *granted.values()) + 1
        now += 1.0


def test_faults_43_five_hundred_that_crash_at_once_are_all_back_within_the_rate() -> None:
    told = Told(limited(queue("emails", 300), queue("thumbs", 200)))
    told.rig.advance(60)
    told.starts.clear()
    for worker in told.rig.keeper.alive():
        told.rig.keeper.kill(worker)
    told.rig.advance(0.5)
    assert len(told.starts) == 250
    view = queue_view(told.rig.engine.snapshot(), "thumbs", told.rig.clock.now, About())
    assert (view.running, view.waiting, view.state) == (125, 75, "growing")
    told.rig.advance(0.6)
    assert (told.running(), told.running("thumbs")) == (300, 200)
    assert told.most_in(1.0) <= 250
    assert len(told.starts) == 500


def test_first_starts_and_restarts_are_alike_and_small_queues_are_not_kept_waiting() -> None:
    told = Told(limited(queue("large", 100), queue("small", 2), number=10))
    told.rig.advance(0.5)
    assert (told.running("large"), told.running("small")) == (8, 2)
    told.rig.keeper.kill(WorkerId("small", 1))
    told.rig.advance(0.6)
    assert told.running("small") == 2, "it takes its turn in the next second"
    told.rig.advance(20)
    assert told.running("large") == 100
    assert told.most_in(1.0) <= 10


def test_whoever_waits_for_a_turn_is_told_so() -> None:
    wanted = replace(manifest(queue("emails", 3)), starts=StartRate(1, 10.0))
    with ManifestTest(wanted) as test:
        test.advance(1)
        assert test.running() == 1
        assert [w.detail for w in test.workers()] == [None, "waits for its turn", "waits for its turn"]
        assert test.queue("emails").problem == "waits for its turn to start: see host.starts"
        test.advance(20)
        assert test.running() == 3
        assert test.queue("emails").problem is None


def test_the_next_start_comes_at_the_very_moment() -> None:
    told = Told(limited(queue("emails", 6), number=2, within=3.0))
    told.rig.advance(30)
    assert sorted({round(at - 1000.0, 6) for at, _ in told.starts}) == [0.0, 3.0, 6.0]


def test_a_new_control_plane_does_not_begin_a_new_window() -> None:
    told = Told(limited(queue("emails", 60), number=10, within=5.0))
    for _ in range(12):
        told.rig.advance(1.1)
        told.rig.replace_control_plane()
    told.rig.advance(60)
    assert told.running() == 60
    assert told.most_in(5.0) <= 10


def test_the_rate_of_what_runs_already() -> None:
    assert Starts.of([9.0, 5.0, 5.0]).log == ((5.0, 2), (9.0, 1))


# --- a queue that fails ---------------------------------------------------------------------------------------------

QUICK = RestartPolicy(backoff=Backoff(0.1, 1.0))


def test_faults_42_a_crash_loop_of_200_is_tried_one_by_one() -> None:
    told = Told(manifest(replace(queue("emails", 200), restart=QUICK)), Script(run_for=0.5, exit_code=1))
    told.rig.advance(120)
    assert told.most_tried == 1
    first = [at for at, _ in told.starts if at < 1002.0]
    assert len(first) <= 405, "each once, and once more at once"
    later = [at for at, _ in told.starts if at >= 1010.0]
    assert len(later) <= 110 / 0.5 + 1, "no more than one at a time can"
    assert len({worker for at, worker in told.starts if at >= 1010.0}) > 150, "and each gets its turn"


def test_once_it_works_all_are_back_soon() -> None:
    wanted = replace(queue("emails", 200), restart=QUICK)
    told = Told(manifest(wanted), Script(run_for=0.5, exit_code=1))
    told.rig.advance(30)
    told.script = Script()
    told.rig.advance(3)
    assert 1 <= told.running() < 20, "carefully"
    told.rig.advance(9)
    assert told.running() == 200, "then twice as many with each pause"


def test_those_that_work_let_as_many_others_be_tried() -> None:
    wanted = replace(queue("emails", 40), restart=QUICK)
    rig = Rig(manifest(wanted), lambda worker, _: Script() if worker.slot <= 30 else Script(run_for=0.5, exit_code=1))
    rig.advance(60)
    view = rig.engine.snapshot().queue("emails")
    assert sum(isinstance(w, Running) for w in view.workers.values()) >= 30
    before = rig.keeper.last_generation
    rig.advance(10)
    assert rig.keeper.last_generation - before > 40, "ten at a time: only their backoff holds them"


def test_a_first_failure_is_started_again_at_once_whatever_the_others_do() -> None:
    wanted = replace(queue("emails", 10), restart=QUICK)
    rig = Rig(manifest(wanted), lambda worker, _: Script(run_for=0.2, exit_code=1) if worker.slot > 5 else Script())
    rig.advance(60)
    rig.keeper.kill(EMAILS_1)
    rig.advance(0.05)
    assert isinstance(rig.engine.snapshot().worker(EMAILS_1), Running)


def test_another_command_is_not_held_up() -> None:
    told = Told(manifest(replace(queue("emails", 200), restart=QUICK)), Script(run_for=0.5, exit_code=1))
    told.rig.advance(30)
    told.script = Script()
    told.rig.adopt(manifest(replace(queue("emails", 200, "mended"), restart=QUICK)))
    told.rig.advance(0.7)
    assert told.running() == 200


def test_with_readiness_a_try_lasts_until_it_is_ready() -> None:
    slow = replace(queue("emails", 20), restart=QUICK, ready=Readiness(Notify(), 5.0))
    told = Told(manifest(slow), Script(ready_after=float("inf")))
    told.rig.advance(120)
    assert told.most_tried == 1
    told.script = Script(ready_after=2.0)
    told.rig.advance(60)
    assert told.running() == 20


def test_one_that_waits_says_what_for() -> None:
    wanted = replace(queue("emails", 3), restart=RestartPolicy(backoff=Backoff(5.0, 5.0)))
    with ManifestTest(manifest(wanted)) as test:
        test.script("emails", exits(1, after=10))
        test.script("emails", exits(1, after=1.0))
        test.advance(2.5)
        details = [str(w.detail) for w in test.workers()]
        assert all(text.startswith("next try in ") for text in details)
        assert "next try in" in str(test.queue("emails").problem)
        assert 0 < (test.queue("emails").next_try or 0) <= 5.0
        test.advance(4.9)
        assert "waits for its turn" in [w.detail for w in test.workers()]


# --- storms ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_random_lives_keep_to_the_rate_and_end_with_all_that_is_wanted(data: st.DataObject) -> None:
    """Readiness, dooms, crashes, control planes that die: the bound holds, nobody is forgotten."""
    rate = StartRate(data.draw(st.integers(2, 5)), 1.0)
    limits = Limits(age=data.draw(st.sampled_from([None, 30.0])))
    wanted = [replace(queue(name, 6), restart=QUICK, ready=Readiness(Notify(), 4.0), limits=limits) for name in "ab"]
    scripts = data.draw(st.lists(st.sampled_from([Script(), Script(ready_after=1.0), *BAD]), min_size=1, max_size=5))
    told = Told(replace(manifest(*wanted), starts=rate))
    told.rig.keeper.casting = lambda _w, generation: scripts[generation % len(scripts)]
    deaths = 0
    for _ in range(data.draw(st.integers(1, 5))):
        told.rig.advance(data.draw(st.floats(0, 20)))
        for worker in list(told.rig.keeper.alive())[: data.draw(st.integers(0, 12))]:
            told.rig.keeper.kill(worker)
        if data.draw(st.booleans()):
            told.rig.replace_control_plane()
            deaths += 1
    told.rig.keeper.casting = lambda *_: Script()
    told.rig.adopt(replace(manifest(*(replace(q, limits=Limits()) for q in wanted)), starts=rate))
    told.rig.advance(120)
    assert len(told.rig.keeper.alive()) == 12
    assert (told.running("a"), told.running("b")) == (6, 6)
    # A new control plane does not know of workers whose slots were used again since.
    assert told.most_in(1.0) <= rate.number * (2 if deaths else 1)
    assert told.rig.keeper.refusals == []
    assert sum(isinstance(c, SpawnWorker) for c in told.rig.keeper.commands) == len(told.starts)


BAD = (Script(run_for=0.2, exit_code=1), Script(ready_after=float("inf")), Script(run_for=3.0))


@pytest.mark.parametrize("number", [1, 3])
def test_a_slow_rate_starves_nobody(number: int) -> None:
    told = Told(limited(queue("large", 50), queue("small", 5), number=number, within=2.0))
    told.rig.advance(2.0 * (10 // number) + 1)
    assert told.running("small") >= 3
