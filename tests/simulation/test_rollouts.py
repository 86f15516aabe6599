"""Roll-outs on a virtual clock: batches, surge, pauses, halts, saves in the middle; and the totals that a plan says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.engine.port import SpawnWorker, StopWorker
from procq.events import Event
from procq.intent import ScaleTo, desired_queue, restart, scale
from procq.model import Queue, RestartPolicy, RestartWhen, Share, StopPolicy, UpdatePolicy, WorkerId
from procq.plan.diff import Mark
from procq.plan.rollout import is_old, survey
from procq.state import Draining, Running, Starting, Stopping
from procq.testing import NOT_FOUND, Rig, Script
from procq.views import About, queue_view
from tests.queues import manifest, queue

GRACE = 5.0


def rolling(
    workers: int, command: str = "new", surge: int = 0, batch: int = 1, pause: float = 1.0, grace: float = GRACE
) -> Queue:
    return replace(
        queue("emails", workers, command),
        update=UpdatePolicy(Share(surge), Share(batch), pause),
        stop=StopPolicy(grace=grace),
    )


class Watched:
    """A rig whose one queue is looked at after whatever happens."""

    def __init__(self, first: Queue, script: Script | None = None) -> None:
        self.script = script or Script()
        self.rig = Rig(manifest(first), lambda *_: self.script, self._happened)
        self.rig.advance(30)
        self.first = first
        self.most_alive = 0
        self.most_moving = 0
        self.least_running = first.workers

    def _happened(self, _events: Sequence[Event]) -> None:
        if not hasattr(self, "first"):
            return
        states = self.states()
        self.most_alive = max(self.most_alive, sum(isinstance(s, Starting | Running) for s in states))
        self.most_moving = max(self.most_moving, sum(isinstance(s, Stopping | Draining | Starting) for s in states))
        self.least_running = min(self.least_running, sum(isinstance(s, Running) for s in states))

    def states(self) -> list[object]:
        return list(self.rig.engine.snapshot().queue("emails").workers.values())

    def old(self, wanted: Queue) -> int:
        return sum(isinstance(s, Running) and s.fingerprint != wanted.fingerprint for s in self.states())

    def save(self, wanted: Queue) -> None:
        self.rig.adopt(manifest(wanted))

    def until_replaced(self, wanted: Queue, within: float = 600.0) -> float:
        began = self.rig.clock.now
        while not self.replaced(wanted):
            assert self.rig.advance_to_next(began + within), queue_view(
                self.rig.engine.snapshot(), "emails", self.rig.clock.now, About()
            )
        # Nothing happens at the moment the last one has arrived.
        return max((s.at for s in self.states() if isinstance(s, Running)), default=began) + wanted.update.pause - began

    def replaced(self, wanted: Queue) -> bool:
        """All there, all new, nobody else."""
        states = self.states()
        return len(states) == wanted.workers and all(
            isinstance(s, Running) and s.fingerprint == wanted.fingerprint for s in states
        )

    def shown(self) -> tuple[str, str | None]:
        view = queue_view(self.rig.engine.snapshot(), "emails", self.rig.clock.now, About())
        return view.state, view.problem


@settings(deadline=None, max_examples=60)
@given(
    workers=st.integers(1, 12),
    batch=st.integers(0, 5),
    surge=st.integers(0, 3),
    pause=st.sampled_from([0.0, 1.0, 3.0]),
    script=st.sampled_from([Script(), Script(leave_after=2.0), Script(ignore_term=True), Script(linger=0.3)]),
)
def test_a_plan_says_what_the_roll_out_then_does(
    workers: int, batch: int, surge: int, pause: float, script: Script
) -> None:
    new = rolling(workers, "new", surge, batch, pause)
    watched = Watched(replace(new, argv=("old",)), script)
    rig = watched.rig
    told = rig.engine.preview(manifest(new))
    (diff,) = told.queues
    before = len(rig.keeper.commands)
    watched.save(new)
    took = watched.until_replaced(new)
    rig.advance(30)
    done = rig.keeper.commands[before:]
    extra = min(surge, workers)
    assert diff.mark is Mark.REPLACED
    assert (diff.counts.replaced, diff.counts.untouched, diff.counts.new, diff.counts.stopped) == (workers, 0, 0, 0)
    assert sum(isinstance(c, SpawnWorker) for c in done) == workers + extra
    assert sum(isinstance(c, StopWorker) for c in done) == workers + extra
    assert diff.batch == min(max(1, batch), workers)
    assert diff.surge == extra
    least, most = told.seconds
    boots = (workers + 1) * (script.boot + script.linger)
    assert least <= took + 1e-6, "no faster than it says"
    assert took <= most + boots + 1e-6, "and no slower"
    assert watched.most_alive <= workers + extra
    if not extra:
        assert watched.most_moving <= max(1, batch)
        assert watched.least_running >= workers - max(1, batch)
    elif max(1, batch) <= extra:
        assert watched.least_running >= workers, "with as many extra ones as a batch has, none are ever missing"


def test_workers_above_the_count_are_no_extra_ones_of_another_command() -> None:
    """Fewer workers and another command, in one save."""
    new = rolling(3, surge=2, batch=1)
    watched = Watched(replace(new, workers=6, argv=("old",)))
    watched.save(new)
    watched.until_replaced(new)
    assert watched.rig.keeper.refusals == []


def test_a_smaller_count_keeps_nobody_for_longer_than_the_pause() -> None:
    settled = rolling(5, surge=2, pause=1.0)
    watched = Watched(settled)
    watched.save(replace(settled, workers=3))
    watched.rig.advance(0.5)
    assert len(watched.rig.keeper.alive()) == 3
    watched.rig.keeper.kill(WorkerId("emails", 1))
    watched.save(replace(settled, workers=1))
    watched.rig.advance(1.5)
    assert len(watched.rig.keeper.alive()) == 1


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (Script(run_for=0.2, exit_code=1), "ended with exit code 1"),
        (Script(run_for=0.2, exit_code=0), "ended with exit code 0"),
        (Script(start_error=NOT_FOUND), "cannot start"),
    ],
)
@pytest.mark.parametrize("surge", [0, 1])
def test_a_new_worker_that_fails_halts_it_and_the_old_ones_go_on(script: Script, why: str, surge: int) -> None:
    new = rolling(6, batch=2, surge=surge)
    watched = Watched(replace(new, argv=("old",)))
    watched.script = script
    watched.save(new)
    watched.rig.advance(300)
    out = 0 if surge else 2
    assert watched.old(new) == 6 - out, "whatever was not in the first batch"
    state, problem = watched.shown()
    assert state == "replacing"
    assert problem is not None
    failing = "emails.7" if surge else "emails.1"
    assert problem.startswith(f"roll-out halted after 0 of 6: {failing} ")
    watched.rig.advance(40)
    watched.script = Script()
    watched.until_replaced(new)


def test_saving_the_text_from_before_takes_out_what_fails() -> None:
    old = replace(rolling(6, batch=2), argv=("old",))
    watched = Watched(old)
    kept = {w: g for w, g in watched.rig.keeper.alive().items() if w.slot > 2}
    watched.script = Script(run_for=0.2, exit_code=1)
    watched.save(rolling(6, batch=2))
    watched.rig.advance(60)
    watched.script = Script()
    watched.save(old)
    watched.until_replaced(old)
    alive = watched.rig.keeper.alive()
    assert {w: alive[w] for w in kept} == kept, "those that had not been replaced were never touched"


def test_a_fix_reaches_a_queue_that_crashes_at_once() -> None:
    old = replace(rolling(5), argv=("old",))
    watched = Watched(old, Script(run_for=0.1, exit_code=1))
    watched.rig.advance(100)
    watched.script = Script()
    watched.save(rolling(5))
    watched.rig.advance(0.01)
    assert sum(isinstance(s, Running) for s in watched.states()) == 5


def test_failures_of_the_old_command_do_not_halt_the_new_one() -> None:
    old = replace(rolling(4), argv=("old",))
    watched = Watched(old, Script(run_for=8.0, exit_code=1))
    watched.rig.advance(100)
    watched.script = Script()
    watched.save(rolling(4))
    assert watched.until_replaced(rolling(4)) < 10


def test_a_restart_is_all_at_once_and_a_rolling_one_is_not() -> None:
    settled = rolling(6, batch=2)
    for at_once, leaving in ((True, 6), (False, 2)):
        watched = Watched(settled, Script(leave_after=1.0))
        engine, before = watched.rig.engine, watched.rig.keeper.alive()
        engine.change(lambda i, r=not at_once, g=engine.last_generation: restart(i, ["emails"], g, r), "restart")  # type: ignore[misc]
        watched.rig.settle()
        assert sum(isinstance(s, Stopping) for s in watched.states()) == leaving
        watched.rig.advance(60)
        after = watched.rig.keeper.alive()
        assert after.keys() == before.keys()
        assert all(after[w] > before[w] for w in before)


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_saved_again_in_the_middle_whatever_is_changed(data: st.DataObject) -> None:
    """Other commands, counts and update settings, commands by hand, new control planes: bounds hold at every step."""
    watched = Watched(rolling(4, "a"))
    rig, wanted = watched.rig, rolling(4, "a")
    rig.keeper.casting = lambda _w, generation: Script(leave_after=0.5 * (generation % 3), linger=0.1)
    for _ in range(data.draw(st.integers(1, 6))):
        wanted = rolling(
            data.draw(st.integers(0, 8)),
            data.draw(st.sampled_from("abc")),
            data.draw(st.integers(0, 2)),
            data.draw(st.integers(0, 4)),
            data.draw(st.sampled_from([0.0, 1.0])),
        )
        watched.save(wanted)
        rig.advance(data.draw(st.floats(0, 4)))
        if data.draw(st.booleans()):
            stops = sum(isinstance(c, StopWorker) for c in rig.keeper.commands)
            rig.replace_control_plane()
            assert stops == sum(isinstance(c, StopWorker) for c in rig.keeper.commands), "it goes on, it does not hurry"
    assert rig.keeper.refusals == []
    watched.until_replaced(wanted) if wanted.workers else rig.advance(60)
    rig.advance(60)
    assert len(rig.keeper.alive()) == wanted.workers


def test_a_new_control_plane_in_the_middle_goes_on_and_neither_begins_again_nor_hurries() -> None:
    new = rolling(8, batch=2, pause=2.0)
    watched = Watched(replace(new, argv=("old",)))
    watched.save(new)
    watched.rig.advance(3)
    before = watched.rig.keeper.alive()
    watched.rig.replace_control_plane()
    assert watched.rig.keeper.alive() == before
    stops = [c for c in watched.rig.keeper.commands if isinstance(c, StopWorker)]
    watched.rig.advance(0.5)
    assert len([c for c in watched.rig.keeper.commands if isinstance(c, StopWorker)]) - len(stops) <= 2
    watched.until_replaced(new)
    assert watched.rig.keeper.last_generation == 16


def test_a_count_set_by_hand_in_the_middle() -> None:
    new = rolling(6, batch=2, surge=1)
    watched = Watched(replace(new, argv=("old",)))
    watched.save(new)
    watched.rig.advance(2)
    watched.rig.engine.change(lambda i: scale(i, "emails", ScaleTo(3)), "scale")
    watched.rig.advance(60)
    assert len(watched.rig.keeper.alive()) == 3
    assert watched.old(new) == 0


def test_a_job_that_is_done_does_not_hold_up_a_roll_out() -> None:
    policy = RestartPolicy(RestartWhen.ON_FAILURE)
    new = replace(rolling(4, batch=1), restart=policy)
    watched = Watched(replace(new, argv=("old",)))
    watched.script = Script(run_for=0.2)
    watched.save(new)
    watched.rig.advance(60)
    assert watched.old(new) == 0


def test_what_the_survey_says_agrees_with_who_is_old() -> None:
    new = rolling(4, batch=1)
    watched = Watched(replace(new, argv=("old",)))
    watched.save(new)
    view = watched.rig.engine.snapshot()
    assert view.intent is not None
    desired = desired_queue(view.intent, "emails")
    assert desired is not None
    found = survey(desired, view.queue("emails"), watched.rig.clock.now)
    workers, now = view.queue("emails").workers, watched.rig.clock.now
    old = tuple(s for s, w in workers.items() if isinstance(w, Running) and is_old(desired, s, w, now))
    assert found.old == old
