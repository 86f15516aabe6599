"""The reconcile loop on a fake keeper."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from procq.endings import Doom, ExitStatus
from procq.engine.loop import SAVE_EVERY, Engine
from procq.engine.port import (
    Announce,
    AnswerPing,
    Command,
    ConfigureWorker,
    ForgetWorker,
    SaveIntent,
    SpawnWorker,
    StopWorker,
)
from procq.events import (
    Attached,
    Condemned,
    Event,
    Executing,
    Exited,
    Gap,
    Gone,
    IntentChanged,
    KeeperEvent,
    Pinged,
    Recovered,
    Snapshot,
    SpawnRequested,
    Stray,
)
from procq.intent import NoIntent, ScaleTo, restart, scale, start
from procq.model import WorkerId
from procq.plan.diff import Counts
from procq.plan.restarted import Restarted
from procq.state import Backoff, Running, Starting
from procq.testing import NOT_FOUND, TOO_MANY_PROCESSES, Rig, Script, VirtualClock, everyone
from tests.queues import EMAILS_1, EMAILS_2, manifest, queue


class Recorder:
    """A port that only remembers."""

    def __init__(self) -> None:
        self.sent: list[Command] = []

    def send(self, commands: Sequence[Command]) -> None:
        self.sent.extend(commands)

    def take(self, kind: type[Command]) -> list[Command]:
        found = [c for c in self.sent if isinstance(c, kind)]
        self.sent.clear()
        return found


def attached(workers: int = 2) -> tuple[Engine, Recorder, VirtualClock]:
    port, clock = Recorder(), VirtualClock()
    engine = Engine(port, clock)
    engine.handle([Attached(1, 5, 0, False), Snapshot((), clock.now, 0)])
    engine.adopt(manifest(queue("emails", workers)), "test")
    return engine, port, clock


def test_nothing_is_done_before_everything_is_known() -> None:
    port = Recorder()
    engine = Engine(port, VirtualClock())
    engine.adopt(manifest(queue()), "test")
    engine.handle([Attached(1, 5, 0, False)])
    engine.step()
    assert port.sent == []
    engine.handle([Snapshot((), 1.0, 41)])
    engine.step()
    assert [type(c) for c in port.sent] == [SaveIntent, SpawnWorker]
    assert engine.last_generation == 42


def test_nothing_is_planned_between_a_gap_and_the_snapshot() -> None:
    engine, port, _ = attached()
    engine.handle([Gap()])
    engine.step()
    assert port.sent == []
    assert not engine.complete


def test_a_request_in_flight_is_not_repeated() -> None:
    engine, port, _ = attached()
    engine.step()
    assert len(port.take(SpawnWorker)) == 2
    engine.handle([Executing(EMAILS_1, 1, 4711, 1.0)])
    engine.step()
    engine.step()
    assert port.sent == []


def test_the_intent_is_saved_before_what_follows_from_it() -> None:
    engine, port, _ = attached()
    engine.step()
    port.sent.clear()
    engine.change(lambda i: scale(i, "emails", ScaleTo(1)), "procq scale")
    engine.step()
    assert [type(c) for c in port.sent] == [SaveIntent, StopWorker]


def test_a_crash_is_replaced_in_the_same_step() -> None:
    engine, port, clock = attached(1)
    engine.step()
    port.sent.clear()
    events: list[KeeperEvent] = [
        Executing(EMAILS_1, 1, 4711, clock.now),
        Exited(EMAILS_1, 1, ExitStatus(1), clock.now),
        Gone(EMAILS_1, 1, 0, clock.now),
    ]
    engine.handle(events)
    engine.step()
    forget, spawn, saved = port.sent
    assert isinstance(saved, SaveIntent), "the count, once the other one is on its way"
    assert forget == ForgetWorker(EMAILS_1, 1)
    assert isinstance(spawn, SpawnWorker)
    assert (spawn.worker, spawn.generation) == (EMAILS_1, 2)
    assert engine.snapshot().restarts == {"emails": {Restarted.FAILED: 1}}


def test_who_takes_the_place_of_an_unhealthy_one_is_a_restart() -> None:
    engine, _, clock = attached(1)
    engine.step()
    engine.handle([Executing(EMAILS_1, 1, 4711, clock.now), Condemned(EMAILS_1, 1, Doom.UNHEALTHY, "503", clock.now)])
    engine.step()
    engine.handle([Exited(EMAILS_1, 1, ExitStatus(0), clock.now), Gone(EMAILS_1, 1, 0, clock.now)])
    engine.step()
    assert engine.snapshot().restarts == {"emails": {Restarted.UNHEALTHY: 1}}


def test_counters_are_saved_once_in_a_while() -> None:
    rig = Rig(manifest(queue()))
    rig.advance(0.1)
    rig.keeper.kill(EMAILS_1)
    rig.settle()
    saved = rig.keeper.saved
    rig.keeper.kill(EMAILS_1)
    rig.settle()
    assert rig.keeper.saved == saved
    rig.advance(SAVE_EVERY)
    assert rig.keeper.saved != saved
    assert rig.engine.wake_at is None


def test_without_an_intent_every_worker_is_kept() -> None:
    """An unreadable memory: nothing is accepted before a manifest loads."""
    rig = Rig(manifest(queue("emails", 3)))
    rig.advance(1)
    rig.keeper.saved = b"rubbish"
    rig.replace_control_plane()
    assert rig.engine.intent is None
    assert rig.engine.unreadable is not None
    assert len(rig.keeper.alive()) == 3
    with pytest.raises(NoIntent):
        rig.engine.change(lambda i: i, "test")
    rig.adopt(manifest(queue("emails", 3)))
    assert rig.engine.snapshot().intent is not None
    assert len(rig.keeper.alive()) == 3
    assert rig.keeper.last_generation == 3


@pytest.mark.parametrize("data", [None, b"", b"x\x9c", b"{}"])
def test_a_damaged_memory_is_no_crash(data: bytes | None) -> None:
    engine = Engine(Recorder(), VirtualClock())
    engine.handle([Attached(2, 5, 0, False), Recovered(data), Snapshot((), 1.0, 0)])
    engine.step()
    assert engine.unreadable is not None
    assert engine.intent is None


def test_faults_42_a_crash_loop_backs_off_and_is_visible() -> None:
    rig = Rig(manifest(queue()), everyone(Script(run_for=0.1, exit_code=1)))
    rig.advance(60)
    state = rig.engine.snapshot().worker(EMAILS_1)
    assert isinstance(state, Backoff)
    assert state.attempt > 8
    assert 8 < rig.keeper.last_generation < 14


def test_a_bad_command_is_not_tried_in_a_tight_loop_and_start_tries_at_once() -> None:
    rig = Rig(manifest(queue()), everyone(Script(start_error=NOT_FOUND)))
    rig.advance(20)
    assert rig.keeper.last_generation == 1
    rig.keeper.casting = everyone(Script())
    rig.engine.change(lambda i: start(i, ["emails"], rig.engine.now), "procq start")
    rig.advance(1)
    assert isinstance(rig.engine.snapshot().worker(EMAILS_1), Running)
    assert rig.keeper.last_generation == 2


def test_faults_24_a_lack_of_resources_is_tried_again_soon() -> None:
    rig = Rig(manifest(queue()), everyone(Script(start_error=TOO_MANY_PROCESSES)))
    rig.advance(10)
    assert 8 < rig.keeper.last_generation < 25
    rig.keeper.casting = everyone(Script())
    rig.advance(1.1)
    assert isinstance(rig.engine.snapshot().worker(EMAILS_1), Running)


def test_restart_replaces_each_worker_once() -> None:
    rig = Rig(manifest(queue("emails", 3)))
    rig.advance(1)
    rig.engine.change(lambda i: restart(i, ["emails"], rig.engine.last_generation), "procq restart")
    rig.advance(30)
    assert rig.keeper.alive() == {WorkerId("emails", slot): slot + 3 for slot in (1, 2, 3)}


def test_a_count_change_touches_nobody_who_stays() -> None:
    rig = Rig(manifest(queue("emails", 5)))
    rig.advance(1)
    before = rig.keeper.alive()
    rig.keeper.commands.clear()
    rig.adopt(manifest(queue("emails", 2)))
    rig.advance(1)
    rig.adopt(manifest(queue("emails", 4)))
    rig.advance(1)
    assert rig.keeper.alive().items() >= {w: g for w, g in before.items() if w.slot <= 2}.items()
    touched = {c.worker.slot for c in rig.keeper.commands if isinstance(c, StopWorker | ConfigureWorker)}
    assert touched == {3, 4, 5}


def test_faults_46_overlapping_reloads_end_with_the_last() -> None:
    rig = Rig(manifest(queue("emails", 2)))
    rig.advance(1)
    before = rig.keeper.alive()
    for count in [*range(100, 0, -1), 3]:
        rig.engine.adopt(manifest(queue("emails", count)), "reload")
    rig.advance(1)
    assert len(rig.keeper.alive()) == 3
    assert rig.keeper.alive().items() >= before.items()
    assert rig.keeper.last_generation == 3


def test_a_removed_queue_leaves_nothing_behind() -> None:
    rig = Rig(manifest(queue("emails", 2), queue("thumbs")))
    rig.advance(1)
    rig.adopt(manifest(queue("thumbs")))
    rig.advance(SAVE_EVERY + 1)
    assert rig.engine.snapshot().observed.queues.keys() == {"thumbs"}
    assert rig.keeper.state(EMAILS_1) is None
    assert rig.engine.wake_at is None


def test_pings_are_answered_and_lines_announced() -> None:
    engine, port, _ = attached(0)
    engine.handle([Pinged(3)])
    engine.send(Announce(("hello",)))
    engine.step()
    assert AnswerPing(3) in port.sent
    assert Announce(("hello",)) in port.sent


def test_pings_are_answered_without_an_intent() -> None:
    port = Recorder()
    engine = Engine(port, VirtualClock())
    engine.handle([Pinged(1)])
    engine.step()
    assert port.sent == [AnswerPing(1)]


def test_subscribers_hear_of_facts_and_requests_in_order() -> None:
    engine, _, _ = attached(1)
    heard: list[Event] = []
    leave = engine.subscribe(heard.extend)
    engine.step()
    assert [type(e) for e in heard] == [Attached, Snapshot, IntentChanged, SpawnRequested]
    leave()
    engine.handle([Pinged(1)])
    engine.step()
    assert len(heard) == 4


def test_a_view_does_not_change() -> None:
    engine, _, clock = attached(1)
    engine.step()
    view = engine.snapshot()
    engine.handle([Executing(EMAILS_1, 1, 4711, clock.now), Stray(9, "sh")])
    assert isinstance(view.worker(EMAILS_1), Starting)
    assert view.strays == ()
    assert isinstance(engine.snapshot().worker(EMAILS_1), Running)
    assert engine.snapshot().strays == (Stray(9, "sh"),)
    assert engine.snapshot().worker(EMAILS_2) is None


def test_a_preview_changes_nothing() -> None:
    rig = Rig(manifest(queue("emails", 2)))
    rig.advance(1)
    sent = len(rig.keeper.commands)
    assert rig.engine.preview(manifest(queue("emails", 5))).counts == Counts(new=3, untouched=2)
    rig.settle()
    assert len(rig.keeper.commands) == sent


def test_the_same_manifest_again_is_no_change() -> None:
    rig = Rig(manifest(queue("emails", 2)))
    rig.advance(1)
    sent = len(rig.keeper.commands)
    rig.adopt(manifest(queue("emails", 2)))
    assert len(rig.keeper.commands) == sent


def test_work_is_announced() -> None:
    engine, _, _ = attached()
    calls: list[int] = []
    engine.on_work(lambda: calls.append(1))
    engine.handle([Pinged(1)])
    engine.change(lambda i: scale(i, "emails", ScaleTo(1)), "test")
    engine.change(lambda i: i, "nothing")
    assert len(calls) == 2
