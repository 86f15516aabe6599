"""Records of the log, who tells them, and the way out for them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from procq.history import History
from procq.model import WorkerId
from procq.telemetry.config import Batching
from procq.telemetry.lane import HEAVIEST_BATCH, HEAVIEST_QUEUE, Lane, Lost
from procq.telemetry.logs import Severity, record, severity, worker_of
from procq.telemetry.resource import attributes, given
from procq.telemetry.spans import Context
from procq.wire import EventView
from tests.process.support.waiting import until


def test_an_event_is_a_record_with_what_is_known_of_it() -> None:
    event = EventView(7, 12.5, "exited", "exit code 1; 4 jobs", "emails", "emails.3", jobs=4, jobs_failed=1)
    told = record(event, Context(1, 2))
    assert (told.at, told.kind, told.severity, told.text) == (12.5, "exited", Severity.WARN, "exit code 1; 4 jobs")
    assert told.attributes == {
        "procq.event.id": 7,
        "procq.queue": "emails",
        "procq.worker": "emails.3",
        "procq.jobs": 4,
        "procq.jobs.failed": 1,
    }
    assert told.context == Context(1, 2)
    assert record(EventView(8, 1.0, "changed", "why")).attributes == {"procq.event.id": 8}


def test_workers_are_known_by_their_queue() -> None:
    assert worker_of(EventView(1, 1.0, "ready", "", "a.b", "a.b.12")) == WorkerId("a.b", 12)
    assert worker_of(EventView(1, 1.0, "scaled", "", "a.b")) is None


def test_what_ends_in_tears_is_worse_than_news() -> None:
    assert severity("gave_up") > severity("exited") > severity("started")


def test_resources_are_what_the_environment_says_and_else_what_is_known() -> None:
    own: dict[str, str | int] = {"service.version": "1", "process.pid": 7}
    assert attributes({}, own) == {"service.name": "procq", **own}
    environ = {
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=a, team = mail%2Croom ,nonsense,=b,service.version=2",
        "OTEL_SERVICE_NAME": "shop",
    }
    assert given(environ) == {"service.name": "shop", "team": "mail,room", "service.version": "2"}
    assert attributes(environ, own)["process.pid"] == 7


class Gate:
    """Sends when it is open, and remembers what."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.sent: list[int] = []
        self.open = threading.Event()
        self.begun = threading.Event()
        self.works = True
        self.changes: list[bool] = []

    def send(self, batch: Sequence[int]) -> bool:
        self.begun.set()
        self.open.wait()
        if not self.works:
            raise RuntimeError("a fault of a library")
        self.batches.append(list(batch))
        self.sent += batch
        return True


def test_records_leave_together_and_a_full_batch_leaves_at_once() -> None:
    gate = Gate()
    gate.open.set()
    lane: Lane[int] = Lane("t", gate.send, Batching(3_600.0, queue=100, batch=3), gate.changes.append)
    for number in range(7):
        lane.put(number)
    until(lambda: gate.sent == [0, 1, 2, 3, 4, 5], lambda: str(gate.batches))
    assert not lane.idle
    lane.hurry()
    until(lambda: gate.batches[-1] == [6] and lane.idle, "the last one")
    assert lane.lost == Lost()
    assert gate.changes == []


def test_a_receiver_that_hangs_costs_the_oldest_and_they_are_counted() -> None:
    gate = Gate()
    lane: Lane[int] = Lane("t", gate.send, Batching(0.001, queue=4, batch=2), gate.changes.append)
    lane.put(0)
    until(gate.begun.is_set, "it to be sent")
    for number in range(1, 11):
        lane.put(number)
    assert lane.lost == Lost(overflowed=6)
    lane.miss(5)
    gate.open.set()
    until(lambda: lane.idle, "the rest")
    assert gate.sent == [0, 7, 8, 9, 10]
    assert lane.lost == Lost(overflowed=11)


def test_heavy_records_leave_in_small_batches_and_wait_in_a_small_queue() -> None:
    gate, room = Gate(), threading.Event()
    heavy = HEAVIEST_BATCH // 2
    lane: Lane[int] = Lane(
        "t", gate.send, Batching(3_600.0), gate.changes.append, weigh=lambda _: heavy, taken=room.set
    )
    lane.put(0)
    lane.put(1)
    until(gate.begun.is_set, "a heavy batch to be sent at once")
    assert room.is_set(), "who waits for room hears of it"
    fits = HEAVIEST_QUEUE // heavy
    for number in range(2, fits + 2):
        assert lane.has_room
        lane.put(number)
    assert not lane.has_room
    lane.put(fits + 2)
    assert lane.lost == Lost(overflowed=1)
    gate.open.set()
    lane.hurry()
    until(lambda: lane.idle, "the rest")
    assert gate.sent == [0, 1, *range(3, fits + 3)], "the oldest made room"
    assert {len(batch) for batch in gate.batches} == {2}


def test_failing_is_told_once_and_so_is_its_end() -> None:
    gate = Gate()
    gate.open.set()
    lane: Lane[int] = Lane("t", gate.send, Batching(0.001, batch=1), gate.changes.append)
    gate.works = False
    for number in range(5):
        lane.put(number)
    until(lambda: lane.idle, "them to fail")
    assert lane.lost == Lost(undelivered=5)
    gate.works = True
    lane.put(6)
    until(lambda: lane.idle, "it to work")
    assert gate.changes == [True, False]
    assert gate.batches == [[6]]


def test_the_history_can_be_read_while_it_goes_on() -> None:
    """What the log is made of: nothing twice, nothing left out, a gap where some of it is forgotten."""
    history = History(clock=lambda: 5.0, length=3)
    history.note("changed", "0")
    last = history.since(0)[-1].id
    for number in range(1, 6):
        history.note("changed", str(number))
    gap, *rest = history.since(last)
    assert (gap.kind, [event.text for event in rest]) == ("gap", ["3", "4", "5"])
    assert gap.id - last == 2, "so many are missing"
