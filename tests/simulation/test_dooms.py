"""Workers that have to be replaced though nobody changed anything: faults at once, limits in batches. Virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from procq.endings import Doom, Doomed
from procq.engine.port import SpawnWorker
from procq.events import Condemned, Event, StopRequested
from procq.history import History
from procq.intent import desired_queue, stop
from procq.lives import Lives
from procq.model import (
    GiveUp,
    Limits,
    Manifest,
    Notify,
    Queue,
    Readiness,
    RestartPolicy,
    Share,
    StopPolicy,
    UpdatePolicy,
    WorkerId,
)
from procq.plan.dooms import end_of_age, youngest_end
from procq.state import Jobs, Report, Running, Starting, Stopping, WorkerState
from procq.testing import ManifestTest, Rig, Script, reaches, runs, unkillable
from procq.views import About, queue_view, worker_view
from procq.wire import QueueView, WorkerView
from tests.queues import EMAILS_1, EMAILS_2, manifest, queue

LIMITS = (Doom.MEMORY, Doom.CPU, Doom.PIDS, Doom.JOBS, Doom.AGE)
FAULTS = (Doom.NOT_READY, Doom.UNHEALTHY, Doom.WATCHDOG, Doom.JOB_TIMEOUT)


class Told:
    """A rig whose scripts can be changed, what was published, and what is said about it."""

    def __init__(self, wanted: Manifest, script: Script | None = None) -> None:
        self.script = script or Script()
        self.events: list[Event] = []
        self.lives, self.history = Lives(), History(lambda: 0.0)
        self.most: dict[str, int] = {}
        self.rig = Rig(wanted, lambda *_: self.script, self._happened)

    def _happened(self, events: Sequence[Event]) -> None:
        self.events.extend(events)
        for event in events:
            self.history.record(event, self.lives.look(event))
        if hasattr(self, "rig"):
            view = self.rig.engine.snapshot()
            for name, state in view.observed.queues.items():
                there = sum(isinstance(w, Starting | Running) for w in state.workers.values())
                self.most[name] = max(self.most.get(name, 0), there)
            self.most[""] = max(self.most.get("", 0), len(self.rig.keeper.alive()))

    def condemn(self, worker: WorkerId, why: Doom, detail: str = "530 MiB of 512 MiB") -> None:
        state = self.rig.keeper.state(worker)
        assert state is not None
        self.rig.engine.handle([Condemned(worker, state.generation, why, detail, self.rig.clock.now)])
        self.rig.settle()

    def state(self, worker: WorkerId = EMAILS_1) -> WorkerState | None:
        return self.rig.engine.snapshot().worker(worker)

    def shown(self, worker: WorkerId = EMAILS_1) -> WorkerView:
        view = self.rig.engine.snapshot()
        assert view.intent is not None
        about = About({}, self.history.last_exits, self.history.restarts)
        desired = desired_queue(view.intent, worker.queue)
        return worker_view(worker, desired, view.queue(worker.queue), self.rig.clock.now, about)

    def queue(self, name: str = "emails") -> QueueView:
        return queue_view(self.rig.engine.snapshot(), name, self.rig.clock.now, About())

    def sent(self, kind: type) -> int:
        return sum(isinstance(command, kind) for command in self.rig.keeper.commands)

    def stops(self) -> list[StopRequested]:
        return [e for e in self.events if isinstance(e, StopRequested)]


def rolling(workers: int, batch: int = 1, surge: int = 0, limits: Limits | None = None, name: str = "emails") -> Queue:
    update = UpdatePolicy(Share(surge), Share(batch), 1.0)
    return replace(queue(name, workers), update=update, limits=limits or Limits())


@pytest.mark.parametrize("why", FAULTS)
def test_a_fault_is_stopped_at_once_and_has_failed(why: Doom) -> None:
    told = Told(manifest(rolling(4, batch=1)), Script(leave_after=1.0))
    told.rig.advance(60)
    for slot in (1, 2, 3):
        told.condemn(WorkerId("emails", slot), why, "no answer three times")
    assert [s.worker.slot for s in told.stops()] == [1, 2, 3], "no batch holds them up"
    assert told.shown().detail == f"{why}: no answer three times"
    told.rig.advance(2)
    assert told.rig.engine.snapshot().streak(EMAILS_1).crashes == 1
    assert told.shown().last_exit == f"{why}: no answer three times"
    assert told.shown().restarts == 1
    said = [e.text for e in told.history.since(0) if e.worker == "emails.1"]
    assert f"{why}: no answer three times: it is stopped" in said
    assert any(text.startswith("SIGTERM after 1m 1s: ") and text.endswith("no answer three times") for text in said)


def test_faults_make_a_queue_give_up() -> None:
    patient = replace(rolling(1), restart=RestartPolicy(give_up=GiveUp(3, 60.0)))
    told = Told(manifest(patient), reaches(Doom.UNHEALTHY, "bad", after=0.5))
    told.rig.advance(60)
    assert told.sent(SpawnWorker) == 3
    assert told.queue().problem == "gave up after 3 in 1m: unhealthy: bad"


@pytest.mark.parametrize("why", LIMITS)
def test_a_limit_is_no_failure_and_workers_are_replaced_in_batches(why: Doom) -> None:
    told = Told(manifest(rolling(4, batch=2)), Script(leave_after=0.5))
    told.rig.advance(60)
    before = told.rig.keeper.alive()
    for worker in before:
        told.condemn(worker, why)
    assert told.rig.clock.now == 1060.0
    assert [s.worker.slot for s in told.stops()] == [1, 2], "a batch"
    assert told.shown(WorkerId("emails", 3)).detail == f"to be recycled: {why}, 530 MiB of 512 MiB"
    assert told.stops()[0].reason == f"it has reached a limit: {why}, 530 MiB of 512 MiB"
    told.rig.advance(20)
    after = told.rig.keeper.alive()
    assert after.keys() == before.keys() and not after.items() & before.items()
    assert told.rig.engine.snapshot().streak(EMAILS_1).crashes == 0
    assert told.shown().last_exit == f"recycled: {why}, 530 MiB of 512 MiB"
    assert told.queue().problem is None


def test_the_extra_worker_comes_first_where_there_is_a_surge() -> None:
    told = Told(manifest(rolling(2, surge=1)))
    told.rig.advance(60)
    told.script = Script(boot=5.0)
    told.condemn(EMAILS_2, Doom.MEMORY)
    told.rig.advance(4)
    assert told.stops() == []
    told.rig.advance(30)
    assert [s.worker.slot for s in told.stops()] == [2, 3]
    assert told.most["emails"] == 3


def test_memory_does_not_wait_for_a_halted_roll_out_and_other_limits_do() -> None:
    for why, leaves in ((Doom.MEMORY, True), (Doom.AGE, False)):
        old = rolling(4)
        told = Told(manifest(old))
        told.rig.advance(60)
        told.script = Script(run_for=0.1, exit_code=1)
        told.rig.adopt(manifest(replace(old, argv=("new",))))
        told.rig.advance(30)
        asked = len(told.stops())
        told.condemn(WorkerId("emails", 4), why)
        told.rig.advance(1)
        assert ([s.worker.slot for s in told.stops()[asked:]] == [4]) is leaves


# --- age ------------------------------------------------------------------------------------------------------------


def test_faults_43_a_fleet_that_started_together_does_not_leave_together() -> None:
    """Spread over a tenth of the age, a batch at a time; all are replaced within their age."""
    told = Told(manifest(rolling(100, batch=5, limits=Limits(age=3600.0))), Script(leave_after=0.1))
    least = 100
    told.rig.advance(3600 * 0.9 - 1)
    assert told.stops() == []
    while told.rig.advance_to_next(1000.0 + 3700.0):
        least = min(least, sum(isinstance(told.state(WorkerId("emails", s)), Running) for s in range(1, 101)))
    first = {s.worker: s.at for s in told.stops()}
    assert len(first) == len(told.stops()) == 100
    assert least >= 95
    assert max(first.values()) - min(first.values()) > 300
    assert max(first.values()) <= 1000.0 + 3600.0 + 20.0
    a_minute = [sum(t <= at < t + 60 for at in first.values()) for t in first.values()]
    assert max(a_minute) < 40, "no minute sees half of them go"


def test_the_age_of_a_generation_is_always_the_same() -> None:
    states = [Running(g, "f", 1, 100.0, None) for g in range(1, 500)]
    ends = [end_of_age(1000.0, EMAILS_1, state) for state in states]
    assert ends == [end_of_age(1000.0, EMAILS_1, state) for state in states]
    assert all(youngest_end(1000.0, s) <= e <= 100.0 + 1000.0 for s, e in zip(states, ends, strict=True))
    assert len(set(ends)) == len(ends)


def test_an_age_that_is_taken_back_dooms_nobody() -> None:
    told = Told(manifest(rolling(2, limits=Limits(age=100.0))))
    told.rig.advance(80)
    told.rig.adopt(manifest(rolling(2)))
    told.rig.advance(200)
    assert told.stops() == []
    told.rig.adopt(manifest(rolling(2, limits=Limits(age=100.0))))
    told.rig.advance(10)
    assert len(told.stops()) == 2


# --- the budget -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "most"), [(None, 12), (12, 12), (9, 9), (8, 8)])
def test_extra_workers_stay_within_the_budget(budget: int | None, most: int) -> None:
    """Two queues of four are replaced at the same time, and each would have two more meanwhile."""

    def shop(command: str) -> Manifest:
        both = [replace(rolling(4, batch=2, surge=2, name=n), argv=(command,)) for n in ("emails", "thumbs")]
        return replace(manifest(*both), budget=budget)

    told = Told(shop("old"), Script(leave_after=0.5))
    told.rig.advance(60)
    told.most.clear()
    told.rig.adopt(shop("new"))
    told.rig.advance(120)
    assert told.most[""] <= most
    assert most == 8 or told.most[""] > 8, "it uses what it may"
    alive = told.rig.keeper.alive()
    assert len(alive) == 8 and min(alive.values()) > 8, "and both were replaced"


# --- what cannot be killed, and what else is said -------------------------------------------------------------------


def test_faults_52_who_cannot_be_killed_is_told_holds_his_slot_and_nobody_else() -> None:
    told = Told(manifest(replace(rolling(2), stop=StopPolicy(grace=1.0))), Script(ignore_term=True))
    told.script = unkillable(100.0)
    told.rig.keeper.kill(EMAILS_1)
    told.rig.advance(5)
    told.rig.engine.change(lambda i: stop(i, ["emails"]), "stop")
    told.rig.advance(4)
    assert told.shown().state == "unkillable"
    assert told.shown().detail == "SIGKILL does not end it: pid 7 (cp) hangs in nfs_wait"
    assert told.queue().problem == "emails.1 is unkillable: pid 7 (cp) hangs in nfs_wait"
    assert told.shown(EMAILS_2).state == "stopped"
    told.rig.advance(200)
    assert told.shown().state == "stopped"


def test_faults_52_who_cannot_be_killed_holds_up_no_queue_that_leaves_after_it() -> None:
    first, then = rolling(1, name="redis"), replace(rolling(1, name="emails"), after=("redis",), wave=1)
    patient = [replace(each, stop=StopPolicy(grace=1.0)) for each in (first, then)]
    told = Told(manifest(*patient), Script())
    told.rig.advance(5)
    told.script = unkillable(1000.0)
    told.rig.keeper.kill(EMAILS_1)
    told.rig.advance(5)
    told.rig.engine.change(lambda i: stop(i, ["redis", "emails"]), "stop")
    told.rig.advance(30)
    assert told.shown().state == "unkillable"
    assert told.shown(WorkerId("redis", 1)).state in {"stopped", "unkillable"}
    assert WorkerId("redis", 1) in {stopped.worker for stopped in told.stops()}


def test_who_killed_whom_is_said_as_far_as_it_is_known() -> None:
    told = Told(manifest(queue("emails", 2)))
    told.rig.advance(60)
    told.rig.keeper.kill(EMAILS_1)
    told.rig.advance(1)
    assert told.shown().last_exit == "SIGKILL, sender unknown"
    told.script = Script(ignore_term=True)
    told.rig.keeper.kill(EMAILS_1)
    told.rig.advance(60)
    told.rig.engine.change(lambda i: stop(i, [EMAILS_1]), "stop")
    told.rig.advance(60)
    assert told.shown().last_exit == "SIGKILL", "that was us"


def test_what_a_worker_says_of_itself_is_shown() -> None:
    told = Told(manifest(queue("emails", 1)), Script(says=((2.0, Report(0, "at work", Jobs(3, 1))),)))
    told.rig.advance(1)
    assert told.shown().jobs is None
    told.rig.advance(2)
    assert (told.shown().jobs, told.shown().jobs_failed, told.shown().says) == (3, 1, "at work")


def test_a_manifest_is_tested_with_workers_that_reach_limits() -> None:
    wanted = replace(rolling(3), ready=Readiness(Notify()))
    with ManifestTest(manifest(wanted)) as test:
        test.script("emails.2", reaches(Doom.MEMORY, "600 MiB of 512 MiB", after=30.0), runs(ready_after=5.0))
        assert test.until(lambda: test.worker("emails.2").last_exit is not None, within=60) >= 30.0
        test.advance(1)
        assert (test.worker("emails.2").state, test.running("emails")) == ("starting", 2)
        assert test.worker("emails.2").last_exit == "recycled: memory limit, 600 MiB of 512 MiB"
        test.advance(10)
        assert test.running("emails") == 3


def test_a_doomed_worker_that_is_stopped_anyway_is_not_stopped_twice() -> None:
    told = Told(manifest(rolling(2)), Script(leave_after=5.0))
    told.rig.advance(60)
    told.rig.engine.change(lambda i: stop(i, [EMAILS_1]), "stop")
    told.rig.settle()
    told.condemn(EMAILS_1, Doom.UNHEALTHY, "bad")
    assert isinstance(told.state(), Stopping)
    told.condemn(EMAILS_2, Doom.AGE)
    assert len(told.stops()) == 2
    assert str(Doomed(Doom.AGE, "1h of 1h", 0.0)) == "age limit, 1h of 1h"
