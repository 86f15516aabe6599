"""The fake is tested too: it must do to the engine what the keeper does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procq.endings import ExitStatus
from procq.engine.port import ForgetWorker, SaveIntent, ShutDown, SpawnWorker, StopWorker
from procq.events import (
    Attached,
    Event,
    Executing,
    Exited,
    Gap,
    Gone,
    Recovered,
    Refused,
    ShuttingDown,
    Snapshot,
    SpawnFailed,
    StopSignalled,
)
from procq.model import WorkerId
from procq.testing import NOT_FOUND, FakeKeeper, Script, VirtualClock, everyone
from tests.queues import EMAILS_1, EMAILS_2, queue

QUEUE = queue()


def keeper(script: Script = Script()) -> FakeKeeper:  # noqa: B008 (frozen)
    return FakeKeeper(VirtualClock(), everyone(script))


def spawn(generation: int = 1) -> SpawnWorker:
    return SpawnWorker(EMAILS_1, generation, QUEUE, "f", "shop")


def play(fake: FakeKeeper, seconds: float) -> list[Event]:
    end = fake.clock.now + seconds
    while (at := fake.next_at) is not None and at <= end:
        fake.clock.to(at)
        fake.fire()
    fake.clock.to(end)
    return list(fake.take())


def test_a_life() -> None:
    fake = keeper(Script(run_for=5, exit_code=3, linger=1, boot=1))
    fake.send([spawn()])
    assert play(fake, 10) == [
        Executing(EMAILS_1, 1, 100_001, 1001),
        Exited(EMAILS_1, 1, ExitStatus(3), 1006),
        Gone(EMAILS_1, 1, 0, 1007),
    ]


def test_a_start_error() -> None:
    fake = keeper(Script(start_error=NOT_FOUND, boot=1))
    fake.send([spawn()])
    assert play(fake, 10) == [SpawnFailed(EMAILS_1, 1, NOT_FOUND, 1001), Gone(EMAILS_1, 1, 0, 1001)]
    assert fake.alive() == {}


def test_killed_from_outside() -> None:
    fake = keeper(Script(kill_after=2, boot=0))
    fake.send([spawn()])
    assert Exited(EMAILS_1, 1, ExitStatus(-9), 1002) in play(fake, 10)


@pytest.mark.parametrize(("ignore", "ends", "code"), [(False, 1001.5, -15), (True, 1011, -9)])
def test_asked_to_leave(ignore: bool, ends: float, code: int) -> None:
    fake = keeper(Script(ignore_term=ignore, leave_after=0.5))
    fake.send([spawn()])
    play(fake, 1)
    fake.send([StopWorker(EMAILS_1, 1)])
    events = play(fake, 20)
    assert events[0] == StopSignalled(EMAILS_1, 1, 1011, 1001)
    assert Exited(EMAILS_1, 1, ExitStatus(code), ends) in events


def test_what_it_refuses() -> None:
    fake = keeper(Script(run_for=1))
    fake.send([spawn(5), spawn(6), StopWorker(EMAILS_2, 1), StopWorker(EMAILS_1, 4)])
    play(fake, 2)
    fake.send([ForgetWorker(EMAILS_1, 5), spawn(5), ShutDown("x"), spawn(7)])
    assert [r.why for r in fake.refusals] == [
        "its slot is taken",
        "no such worker",
        "no such worker",
        "generation 5 was there before",
        "everything is being stopped",
    ]
    assert any(isinstance(e, Refused) for e in fake.take())


def test_the_record_stays_until_it_is_forgotten() -> None:
    fake = keeper(Script(run_for=1))
    fake.send([spawn()])
    fake.send([ForgetWorker(EMAILS_1, 1)])
    play(fake, 5)
    assert fake.state(EMAILS_1) is not None
    fake.send([ForgetWorker(EMAILS_1, 1)])
    assert fake.state(EMAILS_1) is None


def test_a_new_control_plane_gets_everything() -> None:
    fake = keeper()
    fake.send([spawn(), SaveIntent(b"memory")])
    fake.attach()
    attached, recovered, snapshot = fake.take()
    assert attached == Attached(1, 0xFA4E, 1, False)
    assert recovered == Recovered(b"memory")
    assert isinstance(snapshot, Snapshot)
    assert [w for w, _ in snapshot.workers] == [EMAILS_1]


def test_events_can_be_lost() -> None:
    fake = keeper()
    fake.losing = True
    fake.send([spawn()])
    assert play(fake, 1) == []
    fake.resync()
    assert [type(e) for e in fake.take()] == [Gap, Snapshot]


def test_shutdown_stops_everybody() -> None:
    fake = keeper()
    fake.send([spawn()])
    play(fake, 1)
    fake.shut_down("down", fast=True)
    assert fake.take()[0] == ShuttingDown("down", True)
    play(fake, 1)
    assert fake.alive() == {}


def test_a_monotonic_clock_does_not_go_back() -> None:
    clock = VirtualClock(5.0)
    clock.advance(1)
    assert clock() == 6.0
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


@pytest.mark.parametrize("fast", [False, True])
def test_everything_is_stopped_wave_after_wave_or_at_once(fast: bool) -> None:
    fake = keeper(Script(leave_after=2))
    later = replace(queue("web"), wave=1)
    fake.send([spawn(1), SpawnWorker(WorkerId("web", 1), 2, later, "f", "shop")])
    play(fake, 1)
    began = fake.clock.now
    fake.shut_down("down", fast)
    ends = {event.worker.queue: event.at - began for event in play(fake, 10) if isinstance(event, Gone)}
    assert ends == {"web": 2, "emails": 2 if fast else 4}
