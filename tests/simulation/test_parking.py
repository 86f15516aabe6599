"""Workers that say what they do: they leave between jobs, idle ones first, on a virtual clock."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.engine.port import ParkWorker, SpawnWorker, StopWorker
from procq.intent import ScaleTo, desired_queue, pause, restart, resume, scale
from procq.model import Queue, Share, UpdatePolicy, WorkerId
from procq.plan.crew import places
from procq.plan.parking import ANSWERS_WITHIN, Tell, Wait, farewell
from procq.state import Report, Running
from procq.testing import Rig, Script
from procq.testing.script import NOT_FOUND, Casting, everyone, works
from procq.views import About, queue_view, worker_view
from tests.queues import manifest, queue


def rig_of(workers: int, casting: Casting | Script, command: str = "work", surge: int = 0) -> Rig:
    made = Rig(manifest(rolling(workers, command, surge)), casting if callable(casting) else everyone(casting))
    made.advance(0.5)
    return made


def rolling(workers: int, command: str, surge: int = 0) -> Queue:
    return replace(queue("emails", workers, command), update=UpdatePolicy(Share(surge), Share(25, percent=True), 1.0))


def to(rig: Rig, workers: int) -> None:
    rig.engine.change(lambda wanted: scale(wanted, "emails", ScaleTo(workers)), "test")
    rig.settle()


def running(rig: Rig) -> dict[int, int]:
    """Generations by slot."""
    states = rig.engine.snapshot().queue("emails").workers
    return {slot: state.generation for slot, state in sorted(states.items()) if isinstance(state, Running)}


def one_is_slow(slot: int, takes: float = 1_000.0) -> Casting:
    """The worker of this slot is at a long job; the others do short ones."""
    return lambda worker, _: works(takes if worker.slot == slot else 0.2, rest=5.0)


def test_idle_workers_leave_first_and_the_others_keep_their_places() -> None:
    rig = rig_of(3, one_is_slow(3))
    rig.advance(1)
    before = running(rig)
    to(rig, 1)
    rig.advance(1)
    assert running(rig) == {3: before[3]}, "the one that is at a long job stays, though it is the highest"
    assert rig.keeper.interrupted == []
    state = queue_view(rig.engine.snapshot(), "emails", rig.clock.now, About())
    assert (state.state, state.running, state.desired) == ("steady", 1, 1)
    to(rig, 2)
    rig.advance(1)
    assert set(running(rig)) == {1, 3}, "the lowest free place is taken again"


def test_a_busy_worker_is_waited_for_as_long_as_its_job_takes() -> None:
    rig = rig_of(2, works(100.0))
    to(rig, 1)
    rig.advance(90)
    assert len(running(rig)) == 2
    view, wanted = rig.engine.snapshot(), rig.engine.intent
    assert wanted is not None
    desired = desired_queue(wanted, "emails")
    worker = worker_view(WorkerId("emails", 2), desired, view.queue("emails"), rig.clock.now, About())
    assert worker.detail is not None and worker.detail.startswith("finishing job-1 for 1m 3"), worker.detail
    rig.advance(15)
    assert set(running(rig)) == {1} and rig.keeper.interrupted == []


def test_one_that_is_needed_again_stays() -> None:
    rig = rig_of(2, works(100.0))
    before = running(rig)
    to(rig, 1)
    rig.advance(1)
    to(rig, 2)
    rig.advance(200)
    assert running(rig) == before
    assert [c.parked for c in rig.keeper.commands if isinstance(c, ParkWorker)] == [True, False]
    assert not any(isinstance(command, StopWorker) for command in rig.keeper.commands)


def test_an_answer_to_an_earlier_word_is_not_taken_for_that_to_the_last() -> None:
    """Told to park, to go on, and to park again in one moment: it has begun a job in between."""
    silent = replace(Report(2, busy=0), parked=True)
    told = Running(2, "f", 1, 0.0, None, resumed=10.0)
    assert farewell(told, silent, 10.1) == Wait(10.0 + ANSWERS_WITHIN)
    assert farewell(told, replace(silent, parked=False), 10.1) == Tell()
    assert farewell(told, silent, 10.0 + ANSWERS_WITHIN) == Tell()


def test_one_that_does_not_listen_gets_its_signal_once_it_begins_another_job() -> None:
    rig = rig_of(2, works(3.0, deaf=True))
    to(rig, 1)
    rig.advance(ANSWERS_WITHIN)
    assert len(running(rig)) == 2
    rig.advance(3)
    assert set(running(rig)) == {1} and rig.keeper.interrupted == [WorkerId("emails", 2)]


def test_one_that_is_idle_and_does_not_listen_gets_its_signal() -> None:
    rig = rig_of(2, works(0.1, rest=1_000.0, deaf=True))
    to(rig, 1)
    rig.advance(ANSWERS_WITHIN - 1)
    assert len(running(rig)) == 2
    rig.advance(2)
    assert set(running(rig)) == {1} and rig.keeper.interrupted == []


@pytest.mark.parametrize("surge", [0, 1])
def test_a_roll_out_waits_for_jobs(surge: int) -> None:
    rig = rig_of(4, works(7.0), surge=surge)
    rig.adopt(manifest(rolling(4, "other", surge)))
    rig.advance(120)
    assert len(running(rig)) == 4 and rig.keeper.interrupted == []
    assert min(running(rig).values()) > 4


def test_a_roll_out_that_halts_lets_those_work_that_were_told_to_stop() -> None:
    def casting(worker: WorkerId, generation: int) -> Script:
        return works(50.0) if generation <= 4 else Script(start_error=NOT_FOUND)

    rig = Rig(manifest(replace(rolling(4, "work"), update=UpdatePolicy(Share(0), Share(2), 1.0))), casting)
    rig.advance(0.5)
    # One is idle in a moment, the others are not: two are told, and the first new one cannot start.
    rig.keeper.kill(WorkerId("emails", 1))
    rig.settle()
    rig.adopt(manifest(replace(rolling(4, "other"), update=UpdatePolicy(Share(0), Share(2), 1.0))))
    rig.advance(300)
    parked = [
        state.parked for state in rig.engine.snapshot().queue("emails").workers.values() if isinstance(state, Running)
    ]
    assert parked and not any(parked) and rig.keeper.interrupted == []


def test_a_paused_queue_takes_no_jobs_until_it_is_resumed() -> None:
    rig = rig_of(3, works(2.0))
    rig.engine.change(lambda wanted: pause(wanted, ["emails"]), "test")
    rig.advance(5)
    reports = rig.engine.snapshot().queue("emails").reports
    assert all(report.parked and report.idle for report in reports.values()) and len(reports) == 3
    done = [report.work.jobs for report in reports.values()]
    to(rig, 4)
    rig.advance(60)
    reports = rig.engine.snapshot().queue("emails").reports
    assert [report.work.jobs for report in reports.values()][:3] == done and all(r.parked for r in reports.values())
    rig.engine.change(lambda wanted: resume(wanted, ["emails"]), "test")
    rig.advance(5)
    assert not any(report.parked for report in rig.engine.snapshot().queue("emails").reports.values())
    assert rig.keeper.interrupted == []


def test_one_worker_of_a_paused_queue_cannot_be_resumed_alone() -> None:
    rig = rig_of(2, works(2.0))
    rig.engine.change(lambda wanted: pause(wanted, ["emails"]), "test")
    with pytest.raises(ValueError, match="paused as a whole"):
        rig.engine.change(lambda wanted: resume(wanted, [WorkerId("emails", 1)]), "test")


def test_another_control_plane_goes_on_with_who_leaves_and_who_does_not() -> None:
    rig = rig_of(3, works(30.0))
    to(rig, 1)
    rig.advance(1)
    rig.replace_control_plane()
    rig.advance(60)
    assert len(running(rig)) == 1 and rig.keeper.interrupted == []


def test_another_control_plane_lets_those_work_that_the_former_one_had_told_not_to() -> None:
    rig = rig_of(3, works(30.0))
    before = running(rig)
    rig.keeper.send([ParkWorker(WorkerId("emails", 2), before[2], parked=True)])
    rig.replace_control_plane()
    rig.advance(60)
    assert running(rig) == before
    assert not any(report.parked for report in rig.engine.snapshot().queue("emails").reports.values())


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 5), job=st.sampled_from([1.0, 20.0]), surge=st.integers(0, 2))
def test_faults_57_whatever_is_asked_for_nobody_is_interrupted(seed: int, workers: int, job: float, surge: int) -> None:
    random = Random(seed)
    rest = random.choice([0.0, job])
    rig = rig_of(workers, lambda worker, _: works(job * (1 + worker.slot % 3), rest=rest), surge=surge)
    for step in range(8):
        act(rig, random, step, surge)
        rig.advance(random.choice([0.0, 0.3, 3.0, 30.0]))
        if random.random() < 0.2:
            rig.replace_control_plane()
    rig.engine.change(lambda wanted: resume(wanted, ["emails"]), "test")
    rig.advance(40 * job)
    assert rig.keeper.interrupted == [] and rig.keeper.refusals == []
    view = rig.engine.snapshot()
    assert view.intent is not None
    desired = desired_queue(view.intent, "emails")
    assert desired is not None
    observed = view.queue("emails")
    assert sorted(observed.workers) == sorted(places(desired, observed)) and len(observed.workers) == desired.workers
    states = observed.workers.values()
    assert all(isinstance(state, Running) and state.fingerprint == desired.fingerprint for state in states)
    assert not any(report.parked for report in observed.reports.values())
    spawned = sum(isinstance(command, SpawnWorker) for command in rig.keeper.commands)
    rig.advance(100)
    assert spawned == sum(isinstance(command, SpawnWorker) for command in rig.keeper.commands), "nothing is left to do"


def act(rig: Rig, random: Random, step: int, surge: int) -> None:
    match random.randrange(6):
        case 0 | 1:
            to(rig, random.randint(0, 8))
        case 2:
            rig.engine.change(lambda wanted: pause(wanted, ["emails"]), "test")
        case 3:
            rig.engine.change(lambda wanted: resume(wanted, ["emails"]), "test")
        case 4:
            wanted = rig.engine.intent
            assert wanted is not None
            rig.adopt(manifest(rolling(wanted.manifest.queues["emails"].workers, f"other {step}", surge)))
        case _:
            mark = rig.engine.last_generation
            rig.engine.change(lambda wanted: restart(wanted, ["emails"], mark, rolling=True), "test")
