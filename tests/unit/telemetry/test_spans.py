"""Events become traces: on a pretended keeper, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from procq.endings import ExitStatus
from procq.events import Event, Exited, IntentChanged, ShuttingDown, Snapshot, StopSignalled
from procq.intent import desired_queue, restart
from procq.model import After, Manifest, Queue, Readiness, RestartPolicy, WorkerId
from procq.plan.rollout import is_outdated
from procq.rules import ScaleRule, Source
from procq.telemetry.spans import Context, Span, Spans
from procq.telemetry.tracker import Tracker
from procq.testing import NOT_FOUND, Casting, Rig, Script, everyone
from tests.queues import EMAILS_1, manifest, queue


@dataclass
class Traced:
    """An engine and what is told of it."""

    first: Manifest
    casting: Casting | None = None
    spans: list[Span] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.early: list[list[Event]] = []
        self.tracker: Tracker | None = None
        self.rig = Rig(self.first, self.casting, self.listen)
        clock = self.rig.clock
        self.tracker = Tracker(self.spans.append, lambda: clock.now, Random(7).getrandbits, self.replacing)
        for events in self.early:
            self.tracker.happened(events)

    def listen(self, events: object) -> None:
        assert isinstance(events, list)
        if self.tracker is None:
            self.early.append(events)
        else:
            self.tracker.happened(events)

    def replacing(self, name: str) -> bool:
        view = self.rig.engine.snapshot()
        desired = desired_queue(view.intent, name) if view.intent else None
        workers = view.queue(name).workers
        return desired is not None and any(is_outdated(desired, slot, each) for slot, each in workers.items())

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def tree(self) -> list[str]:
        """Each span behind those that it is below, in the order in which they ended."""
        known = {span.context: span for span in self.spans}

        def path(span: Span) -> str:
            above = known.get(span.parent) if span.parent else None
            name = span.name.removeprefix("procq.")
            return f"{path(above)} > {name}" if above else name

        return [path(span) for span in self.spans]

    def save(self, saved: Manifest, began: float, loaded: float) -> None:
        assert self.tracker is not None
        self.tracker.reloading("procq.yaml", began, loaded)
        self.rig.adopt(saved)


def slow(name: str = "emails", workers: int = 1, command: str = "work") -> Queue:
    """A queue whose workers are ready after two seconds."""
    return Queue(name, command, tuple(command.split()), workers=workers, ready=Readiness(After(2.0), 60.0))


def whole(spans: list[Span]) -> None:
    """Every span is below one that was told, in the same trace, and ends after it began."""
    known = {span.context: span for span in spans}
    assert len(known) == len(spans), "ids are unique"
    for span in spans:
        assert span.end >= span.start
        if span.parent is not None:
            assert known[span.parent].context.trace == span.context.trace


def test_the_start_is_one_trace() -> None:
    traced = Traced(manifest(slow(workers=2)))
    traced.rig.advance(10)
    start = [
        "change > plan",
        "change",
        *["change > plan > worker.start > worker.ready", "change > plan > worker.start"] * 2,
    ]
    assert sorted(traced.tree()) == sorted(start)
    assert len({span.context.trace for span in traced.spans}) == 1
    whole(traced.spans)
    (ready, _), (began, _) = traced.named("procq.worker.ready"), traced.named("procq.worker.start")
    assert ready.end - ready.start == 2.0, "from execution to readiness"
    assert began.start < ready.start < began.end == ready.end
    assert began.attributes["procq.queue"] == "emails"
    assert isinstance(began.attributes["process.pid"], int)


def test_one_save_is_one_trace_with_reading_plan_and_workers_under_it() -> None:
    traced = Traced(manifest(slow(workers=1)))
    traced.rig.advance(10)
    traced.spans.clear()
    now = traced.rig.clock.now
    traced.save(manifest(slow(workers=3)), now - 0.5, now - 0.2)
    traced.rig.advance(10)
    assert sorted(traced.tree()) == sorted(
        ["reload", "reload > load", "reload > plan"]
        + ["reload > plan > worker.start", "reload > plan > worker.start > worker.ready"] * 2
    )
    whole(traced.spans)
    (reload,), (load,), (plan,) = (traced.named(f"procq.{name}") for name in ("reload", "load", "plan"))
    assert (reload.start, load.start, load.end, plan.start) == (now - 0.5, now - 0.5, now - 0.2, now - 0.2)
    assert reload.attributes["procq.saved"] == "procq.yaml"


def test_fewer_workers_are_stops_to_the_last_of_each_tree() -> None:
    traced = Traced(manifest(queue(workers=3)), everyone(Script(leave_after=1.0, linger=2.0)))
    traced.rig.advance(10)
    traced.spans.clear()
    now = traced.rig.clock.now
    traced.save(manifest(queue(workers=1)), now, now)
    traced.rig.advance(20)
    assert traced.tree()[3:] == ["reload > plan > worker.stop", "worker"] * 2
    (stop, _) = traced.named("procq.worker.stop")
    assert stop.end - stop.start >= 3.0
    assert [moment.name for moment in stop.moments][:1] == ["asked to leave"]
    assert "exited" in [moment.name for moment in stop.moments]
    whole(traced.spans)


def test_a_roll_out_lasts_until_all_are_replaced_and_holds_all_of_it() -> None:
    traced = Traced(manifest(slow(workers=4)))
    traced.rig.advance(10)
    traced.spans.clear()
    now = traced.rig.clock.now
    traced.save(manifest(slow(workers=4, command="work harder")), now, now)
    traced.rig.advance(60)
    (rollout,) = traced.named("procq.rollout")
    below = [span for span in traced.spans if span.parent == rollout.context]
    assert sorted(span.name for span in below) == ["procq.worker.start"] * 4 + ["procq.worker.stop"] * 4
    assert rollout.end == max(span.end for span in below)
    assert len({span.context.trace for span in traced.spans if span.name != "procq.worker"}) == 1
    whole(traced.spans)


def test_a_roll_out_that_somebody_asked_for() -> None:
    traced = Traced(manifest(slow(workers=2)))
    traced.rig.advance(10)
    traced.spans.clear()
    engine = traced.rig.engine
    engine.change(lambda intent: restart(intent, ["emails"], engine.last_generation), "restart emails")
    traced.rig.advance(60)
    (change,), (rollout,) = traced.named("procq.change"), traced.named("procq.rollout")
    assert change.attributes["procq.reason"] == "restart emails"
    assert rollout.context.trace == change.context.trace
    whole(traced.spans)


def test_what_nobody_asked_for_is_a_trace_of_its_own_linked_to_the_start_before() -> None:
    traced = Traced(manifest(queue()), lambda worker, n: Script(run_for=30.0 if n == 1 else 1e9, exit_code=3))
    traced.rig.advance(120)
    (restarted,) = traced.named("procq.worker.restart")
    first, second = traced.named("procq.worker.start")
    assert restarted.parent is None
    assert restarted.links == (first.context,)
    assert restarted.attributes["procq.reason"] == "exit code 3"
    assert second.parent == restarted.context
    assert restarted.end == second.end
    whole(traced.spans)


def test_starts_that_fail_are_errors_and_giving_up_is_one() -> None:
    traced = Traced(manifest(queue()), everyone(Script(start_error=NOT_FOUND)))
    traced.rig.advance(600)
    assert all(span.error for span in traced.named("procq.worker.start"))
    assert traced.named("procq.worker.restart")[-1].error
    whole(traced.spans)


def test_a_storm_of_restarts_is_bounded_and_what_is_left_out_is_counted() -> None:
    restless = Queue("emails", "work", ("work",), workers=50, restart=RestartPolicy())
    traced = Traced(manifest(restless), everyone(Script(run_for=0.5)))
    traced.rig.advance(300)
    lives = traced.named("procq.worker")
    about_workers = [span for span in traced.spans if span.name.startswith("procq.worker")]
    assert len(about_workers) - len(lives) < 6 * 210
    assert len(lives) > 2 * 200
    left_out = sum(int(span.attributes.get("procq.spans.left_out", 0)) for span in traced.spans)
    assert left_out > 200
    whole([span for span in traced.spans if not span.name.startswith("procq.worker")])


def test_the_number_that_is_left_out_is_right() -> None:
    ended: list[Span] = []
    spans = Spans(ended.append, Random(1).getrandbits, most=4)
    for _ in range(5):
        spans.end(spans.begin("a", 10.0, budget=2), 11.0)
    assert len(ended) == 2
    spans.end(spans.begin("cause", 12.0), 12.0)
    assert ended[-1].attributes["procq.spans.left_out"] == 6
    spans.end(spans.begin("a", 71.0, budget=2), 71.0)
    assert "procq.spans.left_out" not in ended[-1].attributes, "and is told once"
    assert len(ended) == 4


def test_what_is_below_one_that_was_left_out_is_left_out_too() -> None:
    ended: list[Span] = []
    spans = Spans(ended.append, Random(1).getrandbits, most=1)
    above = spans.begin("above", 1.0, budget=2)
    spans.end(spans.begin("below", 1.0, above), 2.0)
    assert ended == []


def scaled(name: str = "emails") -> Queue:
    return replace(slow(name), most=5, source=Source("redis-list://127.0.0.1/0"), scale=ScaleRule(wait=5.0))


def test_a_decision_of_scaling_is_one_trace_with_what_follows_in_its_queue() -> None:
    traced = Traced(manifest(scaled(), scaled("web")))
    traced.rig.advance(10)
    traced.spans.clear()
    for workers, follows in ((3, "start"), (1, "stop")):
        traced.rig.engine.rescale({"emails": workers}, {"emails": "24 jobs wait"})
        traced.rig.advance(30)
        scale = traced.named("procq.scale")[-1]
        below = [span for span in traced.spans if span.parent == scale.context]
        assert [span.name for span in below] == [f"procq.worker.{follows}"] * 2
        assert scale.attributes["procq.after"] == workers
        assert scale.attributes["procq.reason"] == "24 jobs wait"
    assert traced.tracker is not None
    assert traced.tracker.context(None, "emails") == scale.context
    assert traced.tracker.context(None, "web") not in (None, scale.context)
    whole(traced.spans)


def test_everything_is_stopped_under_the_shutdown() -> None:
    traced = Traced(manifest(slow()))
    traced.rig.advance(10)
    assert traced.tracker is not None
    now = traced.rig.clock.now
    traced.tracker.happened([ShuttingDown("SIGTERM", False), StopSignalled(EMAILS_1, 1, now + 10, now)])
    traced.tracker.happened([Exited(EMAILS_1, 1, ExitStatus(0), now)])
    assert not traced.named("procq.worker.restart")
    assert traced.tracker.context(EMAILS_1) != traced.named("procq.worker.start")[0].context


def test_a_snapshot_ends_what_is_over() -> None:
    traced = Traced(manifest(slow()))
    assert traced.tracker is not None
    assert not traced.named("procq.worker.start")
    traced.tracker.happened([Snapshot((), traced.rig.clock.now, 9)])
    (lost,) = traced.named("procq.worker.start")
    assert lost.attributes["procq.lost"] is True
    assert traced.tracker.context(EMAILS_1) is None


def test_another_control_plane_says_so() -> None:
    traced = Traced(manifest(slow()))
    traced.rig.advance(10)
    traced.spans.clear()
    traced.rig.replace_control_plane()
    (took,) = traced.named("procq.takeover")
    assert took.attributes["procq.epoch"] == 2
    assert traced.tree() == ["takeover"], "no worker was touched"


def test_a_file_that_is_not_valid_is_a_trace_with_an_error() -> None:
    traced = Traced(manifest(queue()))
    traced.spans.clear()
    assert traced.tracker is not None
    traced.tracker.refused("procq.yaml", traced.rig.clock.now - 1.0)
    assert traced.tree() == ["reload > load", "reload"]
    assert all(span.error and span.end - span.start == 1.0 for span in traced.spans)


def test_nothing_is_kept_of_workers_that_are_forgotten() -> None:
    traced = Traced(manifest(queue(workers=20)))
    traced.rig.advance(10)
    for _ in range(5):
        traced.rig.adopt(manifest(queue("web")))
        traced.rig.advance(30)
        traced.rig.adopt(manifest(queue(workers=20)))
        traced.rig.advance(30)
    assert traced.tracker is not None
    slots = traced.tracker._slots
    assert len(slots._slots) == 20
    assert not slots._busy
    assert traced.tracker.context(WorkerId("web", 1)) is None


def test_a_change_that_no_file_made_has_no_reading() -> None:
    ended: list[Span] = []
    tracker = Tracker(ended.append, lambda: 7.0, Random(3).getrandbits)
    tracker.reloading("procq.yaml", 1.0, 2.0)
    tracker.happened([])
    tracker.happened([IntentChanged(5.0, "scale emails=3")])
    assert [span.name for span in ended] == ["procq.plan", "procq.change"]
    assert ended[1].context == Context(ended[0].context.trace, ended[0].parent.span if ended[0].parent else 0)
