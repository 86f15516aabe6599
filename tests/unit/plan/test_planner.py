"""Plans read as tables: what is wanted, what runs, what follows."""

from __future__ import annotations

from procq.endings import End, ExitStatus
from procq.intent import Intent, desired_queue, restart, stop
from procq.model import LogPolicy, Manifest, StopPolicy, WorkerId
from procq.plan import Action, Configure, Forget, Plan, Reason, Retire, Spawn, Stop, plan, plan_queue
from procq.state import (
    Draining,
    Ended,
    Observed,
    QueueState,
    Resting,
    Running,
    Settings,
    Starting,
    Stopping,
    WorkerState,
)
from tests.queues import EMAILS_1, EMAILS_2, EMAILS_3, manifest, queue

QUEUE = queue("emails", 3)
SETTINGS = Settings.of(QUEUE)
END = End(ExitStatus(0), 5.0, 6.0)
PRINT = QUEUE.fingerprint


def running(generation: int) -> Running:
    return Running(generation, PRINT, 4000 + generation, 5.0, SETTINGS, ready=5.0)


def actions(wanted: Intent | Manifest, **slots: WorkerState) -> list[tuple[type[Action], int, Reason]]:
    intent = wanted if isinstance(wanted, Intent) else Intent(wanted)
    workers = {int(name.removeprefix("s")): state for name, state in slots.items()}
    found = plan_queue("emails", desired_queue(intent, "emails"), QueueState(workers), 10.0)
    return [(type(a), a.worker.slot, a.reason) for a in found.actions]


def test_slots_fill_from_the_lowest() -> None:
    wanted = manifest(queue("emails", 4))
    assert actions(wanted, s2=running(1)) == [(Spawn, slot, Reason.WANTED) for slot in (1, 3, 4)]


def test_a_smaller_count_removes_the_highest() -> None:
    found = actions(manifest(queue("emails", 1)), s1=running(1), s2=running(2), s3=running(3))
    assert found == [(Stop, 3, Reason.SURPLUS), (Stop, 2, Reason.SURPLUS)]


def test_steady_state_is_left_alone() -> None:
    assert actions(manifest(QUEUE), s1=running(1), s2=running(2), s3=running(3)) == []


def test_faults_10_47_another_command_replaces_and_spawns_only_once_the_slot_is_free() -> None:
    wanted = manifest(queue("emails", 1, command="work harder"))
    assert actions(wanted, s1=running(1)) == [(Stop, 1, Reason.CHANGED)]
    assert actions(wanted, s1=Starting(1, PRINT, 5.0, SETTINGS)) == [(Stop, 1, Reason.CHANGED)]
    assert actions(wanted, s1=Stopping(1, PRINT, 7, 5.0, 20.0, "")) == []
    assert actions(wanted, s1=Draining(1, PRINT, END)) == []
    assert actions(wanted, s1=Ended(1, PRINT, END)) == [(Spawn, 1, Reason.CHANGED)]


def test_a_queue_that_is_gone_from_the_manifest() -> None:
    found = actions(manifest(), s1=running(1), s2=Ended(2, PRINT, END), s3=Draining(3, PRINT, END))
    assert found == [(Forget, 2, Reason.REMOVED), (Stop, 1, Reason.REMOVED)]


def test_the_record_of_a_surplus_slot_is_forgotten_once_it_is_free() -> None:
    assert actions(manifest(queue("emails", 0)), s1=Ended(1, PRINT, END)) == [(Forget, 1, Reason.SURPLUS)]
    assert actions(manifest(queue("emails", 0)), s1=Stopping(1, PRINT, 7, 5.0, 20.0, "")) == []


def test_stopped_by_hand() -> None:
    wanted = stop(Intent(manifest(QUEUE)), [EMAILS_2])
    found = actions(wanted, s1=running(1), s2=running(2), s3=running(3))
    assert found == [(Stop, 2, Reason.STOPPED)]
    found = actions(wanted, s1=running(1), s2=Ended(2, PRINT, END), s3=running(3))
    assert found == [(Retire, 2, Reason.STOPPED)]
    assert actions(wanted, s1=running(1), s3=running(3)) == []


def test_restart_replaces_what_is_not_younger() -> None:
    wanted = restart(Intent(manifest(QUEUE)), ["emails"], 2)
    found = actions(wanted, s1=running(1), s2=running(2), s3=running(3))
    assert found == [(Stop, 1, Reason.ASKED), (Stop, 2, Reason.ASKED)]


def test_live_settings_do_not_replace() -> None:
    new = queue("emails", 1)
    new = type(new)(new.name, new.command, new.argv, stop=StopPolicy(grace=1.0), logs=LogPolicy("/x"))
    assert actions(manifest(new), s1=running(1)) == [(Configure, 1, Reason.SETTINGS)]
    unknown = Running(1, PRINT, 7, 5.0, None, ready=5.0)
    assert actions(manifest(queue("emails", 1)), s1=unknown) == [(Configure, 1, Reason.UNKNOWN_SETTINGS)]


def test_a_stop_waits_as_long_as_the_worker_was_promised() -> None:
    patient = Running(1, PRINT, 7, 5.0, Settings(StopPolicy(grace=77.0), LogPolicy()))
    (found,) = plan_queue("emails", None, QueueState({1: patient}), 10.0).actions
    assert found == Stop(EMAILS_1, 1, 77.0, Reason.REMOVED)


def test_a_plan_is_in_the_order_of_the_manifest_those_removed_last() -> None:
    wanted = Intent(manifest(queue("zeta"), queue("alpha")))
    found = plan(wanted, Observed(10.0, {"gone": QueueState({1: running(1)})}))
    assert [a.worker for a in found.actions] == [WorkerId("zeta", 1), WorkerId("alpha", 1), WorkerId("gone", 1)]


def test_retired_slots_name_why() -> None:
    once = manifest(queue("emails", 1, when="never"))
    found = plan(Intent(once), Observed(10.0, {"emails": QueueState({1: Ended(1, PRINT, END)})}))
    assert found == Plan((Retire(EMAILS_1, 1, Resting.COMPLETED, Reason.COMPLETED),), None)


def test_the_third_slot_is_not_special() -> None:
    assert actions(manifest(QUEUE), s1=running(1), s2=running(2)) == [(Spawn, EMAILS_3.slot, Reason.WANTED)]
