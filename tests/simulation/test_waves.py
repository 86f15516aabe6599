"""Queues that start after others, and leave before them, on a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.engine import loop, order
from procq.engine.port import StopWorker
from procq.events import Event, Executing, Gone, SpawnRequested, StopRequested
from procq.intent import ScaleTo, scale, start, stop
from procq.model import Manifest, Queue, StopPolicy, WorkerId
from procq.plan import QueuePlan, planner, waves
from procq.plan.diff import Counts
from procq.testing import NOT_FOUND, TOO_MANY_PROCESSES, Rig, Script
from procq.views import About, queue_view
from tests.queues import manifest, queue

REDIS = queue("redis", 2, "redis-server")
EMAILS = replace(queue("emails", 3), after=("redis",), wave=1)
REPORTS = replace(queue("reports", 2), after=("emails", "redis"), wave=2)
SHOP = manifest(REPORTS, EMAILS, REDIS)


class Told:
    """A rig, and what is published, in order."""

    def __init__(self, wanted: Manifest, **scripts: Script) -> None:
        self.scripts = scripts
        self.events: list[Event] = []
        self.rig = Rig(wanted, lambda worker, _: self.scripts.get(worker.queue, Script()), self._happened)

    def _happened(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    def alive(self, name: str) -> int:
        return len(self.rig.keeper.alive(name))

    def problem(self, name: str) -> str | None:
        return queue_view(self.rig.engine.snapshot(), name, self.rig.clock.now, About()).problem

    def places(self, kind: type[Event], name: str) -> list[int]:
        return [n for n, e in enumerate(self.events) if isinstance(e, kind) and e.worker.queue == name]  # type: ignore[union-attr]


def test_a_queue_starts_once_every_worker_of_those_before_it_executes() -> None:
    told = Told(SHOP, redis=Script(boot=2.0), emails=Script(boot=1.0))
    assert (told.alive("redis"), told.alive("emails"), told.alive("reports")) == (2, 0, 0)
    assert told.problem("emails") == "waits for redis"
    assert told.problem("reports") == "waits for emails and redis"
    told.rig.advance(2.5)
    assert (told.alive("emails"), told.alive("reports")) == (3, 0)
    assert told.problem("emails") is None
    told.rig.advance(1)
    assert told.alive("reports") == 2
    assert max(told.places(Executing, "redis")) < min(told.places(SpawnRequested, "emails"))
    assert max(told.places(Executing, "emails")) < min(told.places(SpawnRequested, "reports"))


def test_the_plan_of_all_that_is_held_back_counts_it() -> None:
    told = Told(Manifest("shop", {}))
    counts = {q.name: q.counts for q in told.rig.engine.preview(SHOP).queues}
    assert counts == {"redis": Counts(new=2), "emails": Counts(new=3), "reports": Counts(new=2)}


def test_what_cannot_start_holds_back_what_comes_after_it() -> None:
    for error in (NOT_FOUND, TOO_MANY_PROCESSES):
        told = Told(SHOP, redis=Script(start_error=error))
        told.rig.advance(5)
        assert told.alive("emails") == 0
        told.scripts.clear()
        told.rig.advance(40)
        assert (told.alive("emails"), told.alive("reports")) == (3, 2)


def test_what_has_executed_and_crashes_holds_nobody() -> None:
    told = Told(SHOP, redis=Script(run_for=0.1, exit_code=1))
    told.rig.advance(60)
    assert (told.alive("emails"), told.alive("reports")) == (3, 2)


def test_nobody_and_those_stopped_by_hand_hold_nobody() -> None:
    assert Told(manifest(replace(REDIS, workers=0), EMAILS)).alive("emails") == 3
    told = Told(manifest(REDIS))
    told.rig.engine.change(lambda i: stop(i, ["redis"]), "stop")
    told.rig.advance(5)
    told.rig.adopt(SHOP)
    assert told.alive("emails") == 3


def test_names_that_nobody_knows_hold_nobody() -> None:
    assert Told(manifest(replace(EMAILS, after=("nobody",)))).alive("emails") == 3


def test_only_vacant_slots_are_held() -> None:
    told = Told(manifest(replace(EMAILS, after=(), wave=0)))
    before = told.rig.keeper.alive("emails")
    told.scripts["redis"] = Script(start_error=NOT_FOUND)
    told.rig.adopt(manifest(EMAILS, REDIS))
    told.rig.advance(5)
    assert told.rig.keeper.alive("emails") == before
    told.rig.keeper.kill(WorkerId("emails", 1))
    told.rig.engine.change(lambda i: scale(i, "emails", ScaleTo(5)), "scale")
    told.rig.advance(5)
    assert told.rig.keeper.alive("emails").keys() == before.keys(), "one that ran comes again, another one does not"
    assert told.problem("emails") == "waits for redis"


def leave(told: Told, names: Sequence[str]) -> None:
    for earlier, later in pairwise(names):
        assert max(told.places(Gone, earlier)) < min(told.places(StopRequested, later)), f"{later} before {earlier}"


def test_removed_queues_leave_from_the_last_to_the_first() -> None:
    told = Told(SHOP, reports=Script(leave_after=3.0), emails=Script(leave_after=1.0, linger=1.0))
    told.rig.advance(5)
    told.rig.adopt(Manifest("shop", {}))
    told.rig.advance(60)
    assert told.rig.keeper.alive() == {}
    leave(told, ["reports", "emails", "redis"])


def test_stopping_all_by_hand_does_the_same_and_starting_again_ends_it() -> None:
    told = Told(SHOP, reports=Script(leave_after=3.0))
    told.rig.advance(5)
    before = told.rig.keeper.alive("redis")
    told.rig.engine.change(lambda i: stop(i, list(i.manifest.queues)), "stop")
    told.rig.advance(1)
    assert (told.alive("reports"), told.alive("emails")) == (2, 3), "held until the reports are gone"
    told.rig.engine.change(lambda i: start(i, list(i.manifest.queues), told.rig.clock.now), "start")
    told.rig.advance(10)
    assert told.rig.keeper.alive("redis") == before, "never asked"
    told.rig.engine.change(lambda i: stop(i, list(i.manifest.queues)), "stop")
    told.rig.advance(60)
    assert told.rig.keeper.alive() == {}
    leave(told, ["reports", "emails", "redis"])


def test_what_was_stopped_by_hand_starts_in_order_again() -> None:
    told = Told(SHOP, redis=Script(boot=2.0), emails=Script(boot=1.0))
    told.rig.advance(10)
    told.rig.engine.change(lambda i: stop(i, list(i.manifest.queues)), "stop")
    told.rig.advance(60)
    assert told.rig.keeper.alive() == {}
    told.events.clear()
    told.rig.engine.change(lambda i: start(i, list(i.manifest.queues), told.rig.clock.now), "start")
    told.rig.advance(1)
    assert (told.alive("redis"), told.alive("emails"), told.alive("reports")) == (2, 0, 0)
    assert told.problem("emails") == "waits for redis"
    assert told.rig.engine.snapshot().queue("emails").workers == {}, "as if they had never run"
    told.rig.advance(10)
    assert (told.alive("redis"), told.alive("emails"), told.alive("reports")) == (2, 3, 2)
    assert max(told.places(Executing, "redis")) < min(told.places(SpawnRequested, "emails"))
    assert max(told.places(Executing, "emails")) < min(told.places(SpawnRequested, "reports"))


def test_one_queue_that_is_started_again_waits_for_nobody_that_runs_or_is_stopped() -> None:
    told = Told(SHOP)
    told.rig.advance(10)
    told.rig.engine.change(lambda i: stop(i, ["emails", "redis"]), "stop")
    told.rig.advance(10)
    told.rig.engine.change(lambda i: start(i, ["emails"], told.rig.clock.now), "start")
    told.rig.advance(1)
    assert (told.alive("redis"), told.alive("emails"), told.alive("reports")) == (0, 3, 2)


def test_stopped_and_removed_queues_are_one_order() -> None:
    told = Told(SHOP, reports=Script(leave_after=3.0))
    told.rig.advance(5)
    told.rig.engine.change(lambda i: stop(i, ["redis"]), "stop")
    told.rig.adopt(manifest(EMAILS, REDIS))
    told.rig.advance(60)
    assert (told.alive("redis"), told.alive("emails")) == (0, 3)
    leave(told, ["reports", "redis"])


def test_who_leaves_for_another_reason_waits_for_nobody() -> None:
    """Fewer workers, and another command."""
    told = Told(SHOP, reports=Script(ignore_term=True))
    told.rig.advance(5)
    slow = replace(EMAILS, workers=1, argv=("other",), stop=StopPolicy(grace=1.0))
    told.rig.adopt(manifest(slow, REDIS))
    told.rig.advance(0.005)
    asked = [c.worker for c in told.rig.keeper.commands if isinstance(c, StopWorker)]
    assert {w.queue for w in asked} == {"emails", "reports"}


def test_a_queue_added_in_front_of_one_that_runs_touches_nobody() -> None:
    first: Queue = replace(EMAILS, after=(), wave=0)
    told = Told(manifest(first))
    told.rig.advance(5)
    before = told.rig.keeper.alive()
    told.rig.adopt(SHOP)
    told.rig.advance(5)
    after = told.rig.keeper.alive()
    assert {w: after[w] for w in before} == before
    assert len(after) == 7


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 5), st.floats(0, 5))
def test_a_new_control_plane_keeps_to_the_order(first: float, second: float) -> None:
    """Also for queues that are no longer in the manifest, of which it knows only what the keeper tells."""
    told = Told(SHOP, reports=Script(leave_after=3.0, linger=0.5), emails=Script(leave_after=1.0))
    told.rig.advance(5)
    told.rig.adopt(Manifest("shop", {}))
    for wait in (first, second):
        told.rig.advance(wait)
        told.rig.replace_control_plane()
    told.rig.advance(60)
    asked = [c.worker.queue for c in told.rig.keeper.commands if isinstance(c, StopWorker)]
    assert list(dict.fromkeys(asked)) == ["reports", "emails", "redis"]
    assert told.rig.keeper.alive() == {}
    gone = [(e.at, e.worker.queue) for e in told.events if isinstance(e, Gone)]
    assert [name for _, name in gone] == ["reports"] * 2 + ["emails"] * 3 + ["redis"] * 2


def test_who_waits_is_looked_at_when_the_wait_ends_and_not_at_every_step_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"waits": 0, "plans": 0}

    def all_were_ready(*known: Any) -> bool:
        counted["waits"] += 1
        return waves.all_were_ready(*known)

    def plan_queue(name: str, *rest: Any) -> QueuePlan:
        counted["plans"] += name.startswith("q")
        return planner.plan_queue(name, *rest)

    monkeypatch.setattr(order, "all_were_ready", all_were_ready)
    monkeypatch.setattr(loop, "plan_queue", plan_queue)
    boots = iter(range(100))
    waiting = [replace(queue(f"q{n}", 1), after=("base",), wave=1) for n in range(200)]
    rig = Rig(
        manifest(queue("base", 50), *waiting),
        lambda worker, _: Script(boot=1.0 + next(boots) / 10 if worker.queue == "base" else 0.0),
    )
    rig.advance(30)
    assert len(rig.keeper.alive()) == 250
    assert counted["plans"] < 4 * 200, "held, let go, and what becomes of the one worker"
    assert counted["waits"] < 4 * 50


def test_queues_that_leave_at_the_end_are_not_said_to_be_on_their_way_to_anything() -> None:
    told = Told(SHOP, reports=Script(leave_after=3.0))
    told.rig.advance(5)
    told.rig.keeper.shut_down("stopped")
    told.rig.advance(1)

    def states() -> list[str]:
        view = told.rig.engine.snapshot()
        return [queue_view(view, name, told.rig.clock.now, About()).state for name in ("reports", "emails", "redis")]

    assert states()[0] == "shrinking"
    assert told.problem("emails") is None
    told.rig.advance(60)
    assert states() == ["stopped"] * 3
