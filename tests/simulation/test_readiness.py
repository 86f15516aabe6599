"""Who is ready when, who waits for that, and what becomes of those that never are. On a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.engine.port import MarkWorkerReady, SpawnWorker, StopWorker
from procq.events import BecameReady, Event, RollOutHalted, StopRequested
from procq.intent import desired_queue, stop
from procq.model import (
    After,
    GiveUp,
    HttpCheck,
    LogLine,
    Manifest,
    Notify,
    Queue,
    Readiness,
    ReadyCheck,
    RestartPolicy,
    RestartWhen,
    Share,
    Spawned,
    TcpCheck,
    UpdatePolicy,
    WorkerId,
)
from procq.plan.readiness import SLOWEST_START, since_ready
from procq.plan.rollout import batch, surge
from procq.state import Finished, Running, Starting
from procq.testing import Rig, Script
from procq.views import About, queue_view, worker_view
from procq.wire import WorkerView
from tests.queues import EMAILS_1, manifest, queue

NOTIFY = Readiness(Notify(), timeout=60.0)
CHECKS: list[ReadyCheck] = [Notify(), LogLine("up"), TcpCheck(7000), HttpCheck("http://127.0.0.1/{slot}")]


def waiting(workers: int = 1, ready: Readiness = NOTIFY, name: str = "emails") -> Queue:
    return replace(queue(name, workers), ready=ready)


class Told:
    """A rig whose scripts can be changed, and what was published."""

    def __init__(self, wanted: Manifest, script: Script) -> None:
        self.script = script
        self.events: list[Event] = []
        self.rig = Rig(wanted, lambda *_: self.script, self._happened)

    def _happened(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    def state(self, worker: WorkerId = EMAILS_1) -> object:
        return self.rig.engine.snapshot().worker(worker)

    def shown(self, worker: WorkerId = EMAILS_1) -> WorkerView:
        view = self.rig.engine.snapshot()
        assert view.intent is not None
        desired = desired_queue(view.intent, worker.queue)
        return worker_view(worker, desired, view.queue(worker.queue), self.rig.clock.now, About())

    def sent(self, kind: type) -> int:
        return sum(isinstance(command, kind) for command in self.rig.keeper.commands)


@pytest.mark.parametrize("check", CHECKS)
def test_ready_in_time(check: ReadyCheck) -> None:
    told = Told(manifest(waiting(ready=Readiness(check))), Script(boot=1.0, ready_after=30.0))
    told.rig.advance(30)
    assert (told.shown().state, told.shown().ready) == ("starting", False)
    told.rig.advance(2)
    assert (told.shown().state, told.shown().ready, told.shown().detail) == ("running", True, None)
    told.rig.advance(600)
    assert told.sent(StopWorker) == 0
    by_keeper = isinstance(check, Notify | LogLine)
    assert told.sent(MarkWorkerReady) == (0 if by_keeper else 1), "the keeper is told what it does not know"


@pytest.mark.parametrize("check", CHECKS)
def test_not_ready_in_time_is_a_failure(check: ReadyCheck) -> None:
    told = Told(manifest(waiting(ready=Readiness(check, 60.0))), Script(boot=1.0, ready_after=float("inf")))
    told.rig.advance(60.9)
    assert str(told.shown().detail).endswith("100 ms left")
    assert told.sent(StopWorker) == 0
    told.rig.advance(0.2)
    assert told.sent(StopWorker) == 1, "60 seconds after it began to execute"
    (asked,) = [e for e in told.events if isinstance(e, StopRequested)]
    assert asked.fault.startswith("not ready in time: waited 1m for ")
    told.rig.advance(400)
    assert told.rig.engine.snapshot().streak(EMAILS_1).crashes >= 4, "each one is a crash, however long it ran"


def test_who_is_never_ready_gives_up_and_says_why() -> None:
    patient = replace(waiting(), restart=RestartPolicy(give_up=GiveUp(3, 3600.0)))
    told = Told(manifest(patient), Script(ready_after=float("inf")))
    told.rig.advance(600)
    assert isinstance(told.state(), Finished)
    assert told.sent(SpawnWorker) == 3
    problem = queue_view(told.rig.engine.snapshot(), "emails", told.rig.clock.now, About()).problem
    assert problem == "gave up after 3 in 1h: not ready in time: waited 1m for READY=1 on its notify socket"


@pytest.mark.parametrize("when", list(RestartWhen))
def test_a_failed_worker_is_started_again_as_its_policy_says_though_it_left_with_0(when: RestartWhen) -> None:
    told = Told(manifest(replace(waiting(), restart=RestartPolicy(when))), Script(ready_after=float("inf")))
    told.rig.advance(61)
    assert told.sent(SpawnWorker) == (1 if when is RestartWhen.NEVER else 2)


def test_a_delay_is_over_to_the_moment() -> None:
    told = Told(manifest(waiting(ready=Readiness(After(5.0)))), Script(boot=1.0))
    told.rig.advance(60)
    (ready,) = [e for e in told.events if isinstance(e, BecameReady)]
    assert ready.at == 1000.0 + 6.0
    assert told.sent(MarkWorkerReady) == 1


def test_a_spawn_that_hangs_is_stopped() -> None:
    for patience in (5.0, 90.0):
        told = Told(manifest(waiting(ready=Readiness(timeout=patience))), Script(boot=10_000.0))
        told.rig.advance(max(SLOWEST_START, patience) - 0.1)
        assert told.sent(StopWorker) == 0
        told.rig.advance(0.2)
        assert told.sent(StopWorker) == 1
        assert told.rig.engine.snapshot().streak(EMAILS_1).crashes == 1


# --- a control plane that is not always there -----------------------------------------------------------------------


@pytest.mark.parametrize("check", [*CHECKS, After(2.0)])
def test_what_was_ready_stays_ready_over_control_planes(check: ReadyCheck) -> None:
    told = Told(manifest(waiting(3, Readiness(check, 5.0))), Script(ready_after=2.0))
    told.rig.advance(100)
    for _ in range(3):
        told.rig.replace_control_plane()
        told.rig.advance(100)
    assert told.sent(StopWorker) == 0
    assert told.shown().ready


def test_faults_54_who_becomes_ready_while_nobody_is_there_to_see_it_gets_its_time_again() -> None:
    told = Told(manifest(waiting(ready=Readiness(TcpCheck(80), 5.0))), Script(ready_after=float("inf")))
    told.rig.advance(4.9)
    told.rig.replace_control_plane()
    told.rig.advance(4.9)
    assert told.sent(StopWorker) == 0
    told.rig.advance(0.2)
    assert told.sent(StopWorker) == 1, "and not for ever"


@settings(deadline=None, max_examples=40)
@given(st.permutations([Spawned(), Notify(), TcpCheck(80), After(3.0)]), st.booleans())
def test_other_wishes_never_doom_who_was_ready(checks: list[ReadyCheck], die: bool) -> None:
    told = Told(manifest(waiting(2, Readiness(checks[0], 10.0))), Script(ready_after=1.0))
    told.rig.advance(20)
    told.script = Script(ready_after=float("inf"))
    for check in checks[1:]:
        told.rig.adopt(manifest(waiting(2, Readiness(check, 1.0))))
        if die:
            told.rig.replace_control_plane()
        told.rig.advance(20)
    assert told.sent(StopWorker) == 0
    assert told.sent(SpawnWorker) == 2


# --- queues that come after -----------------------------------------------------------------------------------------

REDIS = waiting(2, name="redis")
EMAILS = replace(queue("emails", 3), after=("redis",), wave=1)
SHOP = manifest(EMAILS, REDIS)


def test_a_queue_starts_once_those_before_it_are_ready() -> None:
    told = Told(SHOP, Script(ready_after=4.0))
    told.rig.advance(3.9)
    assert len(told.rig.keeper.alive("emails")) == 0
    view = queue_view(told.rig.engine.snapshot(), "emails", told.rig.clock.now, About())
    assert (view.waits_for, view.problem) == (("redis",), "waits for redis")
    told.rig.advance(0.2)
    assert len(told.rig.keeper.alive("emails")) == 3


@pytest.mark.parametrize(
    ("script", "held"),
    [
        (Script(ready_after=float("inf"), run_for=0.5, exit_code=1), True),
        (Script(ready_after=0.1, run_for=0.5, exit_code=1), False),
        (Script(ready_after=float("inf"), run_for=0.5), False),
    ],
    ids=["failed before it was ready", "failed after it was ready", "has done its work"],
)
def test_ends_of_what_others_wait_for(script: Script, held: bool) -> None:
    once = replace(REDIS, restart=RestartPolicy(RestartWhen.NEVER))
    told = Told(manifest(EMAILS, once), script)
    told.script = script
    told.rig.advance(30)
    assert (len([c for c in told.rig.keeper.commands if isinstance(c, SpawnWorker)]) == 2) is held


def test_one_that_is_not_ready_and_is_stopped_by_hand_holds_nobody() -> None:
    told = Told(SHOP, Script(ready_after=float("inf")))
    told.rig.advance(1)
    told.rig.engine.change(lambda i: stop(i, ["redis"]), "stop")
    told.rig.advance(1)
    assert len(told.rig.keeper.alive("emails")) == 3


# --- roll-outs ------------------------------------------------------------------------------------------------------


def rolling(command: str, workers: int = 6, batch: int = 2, surge: int = 0, pause: float = 1.0) -> Queue:
    update = UpdatePolicy(Share(surge), Share(batch), pause)
    return replace(waiting(workers), command=command, argv=(command,), update=update)


def test_each_batch_waits_until_the_one_before_was_ready_for_the_pause() -> None:
    told = Told(manifest(rolling("old")), Script(ready_after=10.0))
    told.rig.advance(60)
    told.events.clear()
    told.rig.adopt(manifest(rolling("new")))
    told.rig.advance(60)
    times = sorted({round(e.at, 3) for e in told.events if isinstance(e, StopRequested)})
    assert len(times) == 3
    assert all(later - earlier >= 11.0 for earlier, later in pairwise(times))


@pytest.mark.parametrize("surge", [0, 1])
def test_new_workers_that_do_not_become_ready_halt_it_and_that_is_told_once(surge: int) -> None:
    told = Told(manifest(rolling("old", surge=surge)), Script())
    told.rig.advance(60)
    before = told.rig.keeper.alive()
    told.script = Script(ready_after=float("inf"))
    told.rig.adopt(manifest(rolling("new", surge=surge)))
    told.rig.advance(600)
    kept = [worker for worker, generation in told.rig.keeper.alive().items() if before.get(worker) == generation]
    assert len(kept) == (6 if surge else 4), "the old ones go on"
    (halt,) = [e for e in told.events if isinstance(e, RollOutHalted)]
    failing = "emails.7" if surge else "emails.1"
    waited = "not ready in time: waited 1m for READY=1 on its notify socket"
    assert halt.why == f"roll-out halted after 0 of 6: {failing} failed: {waited}"
    view = queue_view(told.rig.engine.snapshot(), "emails", told.rig.clock.now, About())
    assert (view.state, str(view.problem)[:35]) == ("replacing", halt.why[:35])
    told.script = Script()
    told.rig.advance(300)
    assert told.rig.keeper.alive().keys() == before.keys()
    assert not before.items() & told.rig.keeper.alive().items(), "it went on by itself"


class Bounds:
    """Looks after every step at how many are ready and how many there are; keeps the worst."""

    def __init__(self, first: Queue, scripts: Sequence[Script]) -> None:
        self.wanted = first
        self.scripts = scripts
        self.rig = Rig(manifest(first), lambda _w, g: scripts[g % len(scripts)])
        self.rig.advance(60)
        self.rig.engine.subscribe(self._look)

    def save(self, wanted: Queue) -> None:
        self.wanted = wanted
        self.rig.adopt(manifest(wanted))

    def _look(self, _events: Sequence[Event]) -> None:
        view = self.rig.engine.snapshot()
        assert view.intent is not None
        desired = desired_queue(view.intent, "emails")
        assert desired is not None
        states = view.queue("emails").workers.values()
        ready = sum(isinstance(s, Running) and since_ready(desired, s) is not None for s in states)
        there = sum(isinstance(s, Starting | Running) for s in states)
        assert there <= desired.workers + surge(desired)
        assert ready >= desired.workers - batch(desired), [type(s).__name__ for s in states]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_faults_47_saved_again_at_every_step_of_a_roll_out(data: st.DataObject) -> None:
    """Never fewer that are ready than the count without a batch, never more than the count and the surge.

    Whatever comes when: a new command is saved at a moment that something happens.
    """
    width, extra = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
    pause = data.draw(st.sampled_from([0.0, 1.0]))
    scripts = [Script(ready_after=r, leave_after=0.3, linger=0.1) for r in data.draw(st.permutations([0.0, 0.5, 3.0]))]
    bounds = Bounds(rolling("first", 6, width, extra, pause), scripts)
    for command in data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=8)):
        bounds.save(rolling(command, 6, width, extra, pause))
        for _ in range(data.draw(st.integers(0, 12))):
            bounds.rig.advance_to_next(bounds.rig.clock.now + 5.0)
    bounds.rig.advance(120)
    states = bounds.rig.engine.snapshot().queue("emails").workers
    assert sorted(states) == [1, 2, 3, 4, 5, 6]
    assert {s.fingerprint for s in states.values()} == {bounds.wanted.fingerprint}
    assert bounds.rig.keeper.refusals == []


def test_a_control_plane_that_dies_in_a_roll_out_hurries_nothing() -> None:
    told = Told(manifest(rolling("old")), Script(ready_after=5.0))
    told.rig.advance(60)
    told.rig.adopt(manifest(rolling("new")))
    told.rig.advance(2)
    stops = told.sent(StopWorker)
    told.rig.replace_control_plane()
    told.rig.advance(1)
    assert told.sent(StopWorker) == stops
    told.rig.advance(100)
    assert told.sent(StopWorker) == 6
    assert isinstance(told.state(), Running)
