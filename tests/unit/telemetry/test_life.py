"""The span of a worker's life: its ids, its times, and that it outlives control planes. In virtual time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from procq.endings import ExitStatus
from procq.events import Event, Executing, Exited, Gone, Snapshot
from procq.model import Queue, RestartPolicy, RestartWhen, WorkerId
from procq.state import Running
from procq.telemetry.life import RECENT, boot_id, context_of, traceparent
from procq.telemetry.spans import Context, Span
from procq.telemetry.tracker import Tracker
from procq.testing import Script, everyone
from tests.queues import EMAILS_1, manifest, queue
from tests.unit.telemetry.test_spans import Traced, slow

STARTS = "procq.worker.start"
NEVER = RestartPolicy(RestartWhen.NEVER)


def lives(traced: Traced) -> list[Span]:
    return traced.named("procq.worker")


def replaced(traced: Traced) -> None:
    """Another control plane, which knows only what the keeper tells it, follows from now on."""
    traced.spans.clear()
    clock = traced.rig.clock
    traced.tracker = Tracker(traced.spans.append, lambda: clock.now, Random(8).getrandbits)
    traced.rig.replace_control_plane()


def test_ids_tell_lives_apart_and_are_the_same_whoever_computes_them() -> None:
    found = {context_of(boot, instance, n) for boot in ("a", "b") for instance in (1, 0x11) for n in (1, 11, 17)}
    assert len(found) == 12
    assert len({context.trace for context in found}) == len({context.span for context in found}) == 12
    assert context_of("a", 0xBEEF, 7) == context_of("a", 0xBEEF, 7)
    assert traceparent(Context(0xAB, 0xC)) == "00-000000000000000000000000000000ab-000000000000000c-01"
    assert len(boot_id()) == 36


def test_a_life_lasts_from_execution_to_the_end_of_its_tree() -> None:
    traced = Traced(manifest(slow(workers=2)), everyone(Script(leave_after=1.0, linger=2.0)))
    traced.rig.advance(10)
    assert lives(traced) == [], "nobody has ended"
    traced.save(manifest(slow(workers=1)), traced.rig.clock.now, traced.rig.clock.now)
    traced.rig.advance(20)
    (life,) = lives(traced)
    (start, _) = sorted(traced.named(STARTS), key=lambda span: -int(span.attributes["procq.slot"]))
    (ready, _) = sorted(traced.named("procq.worker.ready"), key=lambda span: -int(span.attributes["procq.slot"]))
    (stop,) = traced.named("procq.worker.stop")
    assert (life.parent, life.start, life.end) == (None, ready.start, stop.end)
    assert life.links == (start.context,) and start.links == (life.context,), "each leads to the other"
    assert life.attributes == {
        "procq.queue": "emails",
        "procq.slot": 2,
        "procq.generation": start.attributes["procq.generation"],
        "process.pid": start.attributes["process.pid"],
        "procq.end": "SIGTERM",
    }
    assert life.error == "", "it was told to leave"


def test_an_end_that_nobody_asked_for_says_how_it_was() -> None:
    for code, error in ((3, "exit code 3"), (0, "")):
        never = Queue("emails", "work", ("work",), workers=1, restart=NEVER)
        traced = Traced(manifest(never), everyone(Script(run_for=5.0, exit_code=code)))
        traced.rig.advance(60)
        (life,) = lives(traced)
        assert (life.end - life.start, life.error) == (5.0, error)
        assert life.attributes["process.exit.code"] == code


def test_another_control_plane_tells_the_same_life() -> None:
    traced = Traced(manifest(queue(workers=2)))
    traced.rig.advance(100)
    (first, second) = traced.named(STARTS)
    replaced(traced)
    traced.rig.advance(100)
    assert lives(traced) == []
    traced.rig.adopt(manifest(queue(workers=0)))
    traced.rig.advance(20)
    told = {life.context: life for life in lives(traced)}
    assert set(told) == {first.links[0], second.links[0]}, "starts lead to them"
    for life in told.values():
        assert life.links == ()
        assert life.end - life.start > 199
        assert life.error == ""
        assert "process.pid" in life.attributes


def test_an_end_that_no_control_plane_saw_is_told_by_the_next_one_and_only_then() -> None:
    for rests, told in ((RECENT - 20, 1), (RECENT + 20, 0)):
        never = Queue("emails", "work", ("work",), workers=1, restart=NEVER)
        traced = Traced(manifest(never), everyone(Script(run_for=5.0, exit_code=3)))
        traced.rig.advance(5 + rests)
        (before,) = lives(traced)
        replaced(traced)
        traced.rig.advance(1)
        again = lives(traced)
        assert len(again) == told, "whoever saw it may not have come to send it"
        for life in again:
            assert (life.context, life.start, life.error) == (before.context, before.start, before.error)
        snapshot(traced)
        traced.rig.advance(100)
        assert len(lives(traced)) == told, "once"


def snapshot(traced: Traced) -> None:
    """After a gap, say."""
    workers = tuple(
        (WorkerId("emails", slot), state)
        for slot, state in traced.rig.engine.snapshot().queue("emails").workers.items()
    )
    assert traced.tracker is not None
    traced.tracker.happened([Snapshot(workers, traced.rig.clock.now, 1_000)])


def test_what_a_gap_has_hidden_is_told_as_far_as_it_is_known() -> None:
    traced = Traced(manifest(queue(workers=1)))
    traced.rig.advance(10)
    (start,) = traced.named(STARTS)
    assert traced.tracker is not None
    traced.tracker.happened([Snapshot((), traced.rig.clock.now, 1_000)])
    (life,) = lives(traced)
    assert life.context == start.links[0]
    assert (life.end, life.attributes["procq.lost"]) == (traced.rig.clock.now, True)
    running = Running(9, "", 77, traced.rig.clock.now, None)
    traced.tracker.happened([Snapshot(((EMAILS_1, running),), traced.rig.clock.now, 1_000)])
    events: list[Event] = [
        Exited(EMAILS_1, 8, ExitStatus(1), traced.rig.clock.now),
        Gone(EMAILS_1, 8, 0, traced.rig.clock.now),
        Exited(EMAILS_1, 9, ExitStatus(1), traced.rig.clock.now + 3),
        Gone(EMAILS_1, 9, 2, traced.rig.clock.now + 4),
    ]
    traced.tracker.happened(events)
    (_, other) = lives(traced)
    assert (other.end - other.start, other.error) == (4.0, "exit code 1")
    assert (other.attributes["process.pid"], other.attributes["procq.killed"]) == (77, 2)


def test_lives_have_a_cap_of_their_own() -> None:
    traced = Traced(manifest(queue(workers=250)))
    traced.rig.advance(100)
    traced.spans.clear()
    traced.rig.adopt(manifest(queue(workers=0)))
    traced.rig.advance(50)
    assert len(lives(traced)) == len(traced.named("procq.worker.stop")) == 200
    traced.rig.adopt(manifest(queue(workers=1)))
    traced.rig.advance(1)
    left_out = sum(int(span.attributes.get("procq.spans.left_out", 0)) for span in traced.spans)
    assert left_out >= 50 + 50, "stops and lives"


def test_what_never_executed_has_no_life() -> None:
    traced = Traced(manifest(queue(workers=1)))
    traced.rig.advance(1)
    assert traced.tracker is not None
    other = WorkerId("emails", 2)
    traced.tracker.happened([Gone(other, 99, 0, 1.0), Executing(replace(other, slot=3), 98, 5, 1.0)])
    assert lives(traced) == []
