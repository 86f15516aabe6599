"""What people may change by hand, and what another manifest leaves of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from procq.intent import (
    Auto,
    Intent,
    Marks,
    ScaleBy,
    ScaleTo,
    adopt,
    desired_queue,
    rescale,
    restart,
    scale,
    start,
    stop,
    wanted_in_all,
)
from procq.model import MAX_WORKERS, Queue
from procq.rules import Period, Source
from tests.queues import EMAILS_1, EMAILS_2, manifest, queue

INTENT = Intent(manifest(queue("emails", 3), queue("thumbs", 1)))


def wanted(intent: Intent, name: str = "emails") -> int:
    desired = desired_queue(intent, name)
    assert desired is not None
    return desired.workers


def stopped(intent: Intent) -> list[int]:
    desired = desired_queue(intent, "emails")
    assert desired is not None
    return [slot for slot in range(1, 4) if desired.stopped(slot)]


def test_scaling() -> None:
    assert wanted(scale(INTENT, "emails", ScaleTo(7))) == 7
    assert wanted(scale(INTENT, "emails", ScaleBy(2))) == 5
    assert wanted(scale(INTENT, "emails", ScaleBy(-9))) == 0
    assert scale(scale(INTENT, "emails", ScaleTo(7)), "emails", Auto()) == INTENT
    assert scale(INTENT, "emails", ScaleTo(7)).overrides == {"emails": 7}


@pytest.mark.parametrize("count", [-1, MAX_WORKERS + 1])
def test_scaling_has_bounds(count: int) -> None:
    with pytest.raises(ValueError, match=f"between 0 and {MAX_WORKERS}"):
        scale(INTENT, "emails", ScaleTo(count))


@pytest.mark.parametrize(
    "change",
    [
        lambda: scale(INTENT, "nope", Auto()),
        lambda: stop(INTENT, ["nope"]),
        lambda: start(INTENT, ["nope"], 1.0),
        lambda: restart(INTENT, ["nope"], 1),
    ],
)
def test_there_is_no_such_queue(change: Callable[[], Intent]) -> None:
    with pytest.raises(KeyError, match="nope"):
        change()
    assert desired_queue(INTENT, "nope") is None


def test_stopping_and_starting() -> None:
    assert stopped(stop(INTENT, ["emails"])) == [1, 2, 3]
    assert stopped(stop(INTENT, [EMAILS_2])) == [2]
    assert stopped(stop(INTENT, ["emails", EMAILS_2])) == [1, 2, 3]
    assert stopped(start(stop(INTENT, ["emails"]), ["emails"], 5.0)) == []
    assert stopped(start(stop(INTENT, [EMAILS_1, EMAILS_2]), [EMAILS_2], 5.0)) == [1]


def test_starting_one_worker_of_a_stopped_queue_leaves_the_others_stopped() -> None:
    assert stopped(start(stop(INTENT, ["emails"]), [EMAILS_2], 5.0)) == [1, 3]


def test_marks_reach_what_was_there_and_not_what_comes() -> None:
    marks = restart(INTENT, [EMAILS_2], 9).adjustment("emails").restart
    assert marks.covers(2, 9)
    assert not marks.covers(2, 10)
    assert not marks.covers(1, 9)
    everyone = restart(INTENT, ["emails"], 9).adjustment("emails").restart
    assert everyone.covers(1, 9)
    assert not Marks().covers(1, 0)
    assert not Marks()


def test_a_mark_on_everyone_replaces_older_ones() -> None:
    intent = restart(restart(restart(INTENT, [EMAILS_1], 5), ["emails"], 9), [EMAILS_2], 12)
    assert intent.adjustment("emails").restart == Marks(9, {2: 12})


def test_restart_undoes_stop() -> None:
    assert stopped(restart(stop(INTENT, ["emails"]), ["emails"], 9)) == []


def test_another_manifest_keeps_what_is_about_its_queues() -> None:
    intent = stop(scale(INTENT, "emails", ScaleTo(7)), ["thumbs"])
    kept = adopt(intent, manifest(queue("emails", 1)))
    assert kept.overrides == {"emails": 7}
    assert adopt(kept, INTENT.manifest).adjustment("thumbs").stopped is False


class TestBudget:
    intent = Intent(replace(manifest(queue("emails", 4), queue("thumbs", 2)), budget=8))

    def test_no_more_than_the_machine_bears(self) -> None:
        assert scale(self.intent, "emails", ScaleTo(6)).overrides == {"emails": 6}
        with pytest.raises(ValueError, match=r"that makes 9 workers.*budget of this machine is 8: emails can have 6"):
            scale(self.intent, "emails", ScaleTo(7))

    def test_overrides_of_others_count(self) -> None:
        with pytest.raises(ValueError, match="emails can have 4"):
            scale(scale(self.intent, "thumbs", ScaleTo(4)), "emails", ScaleBy(1))

    def test_fewer_is_never_refused(self) -> None:
        beyond = replace(self.intent, manifest=replace(self.intent.manifest, budget=1))
        assert scale(beyond, "emails", ScaleTo(4)).overrides == {"emails": 4}
        assert scale(beyond, "emails", ScaleBy(-1)).overrides == {"emails": 3}


class TestRollingRestart:
    def test_it_marks_and_starts_as_the_other_does(self) -> None:
        intent = restart(stop(Intent(manifest(queue("emails", 2))), ["emails"]), ["emails"], 7, rolling=True)
        adjustment = intent.adjustment("emails")
        assert not adjustment.stopped
        assert adjustment.roll.covers(1, 7)
        assert not adjustment.roll.covers(1, 8)
        assert not adjustment.restart


# --- scaling --------------------------------------------------------------------------------------------------------


def scaled(name: str, least: int, most: int, *periods: Period) -> Queue:
    return replace(queue(name, least), most=most, source=Source("rq://localhost"), schedule=periods)


def test_a_target_counts_for_a_queue_that_scales_and_within_its_range() -> None:
    before = Intent(manifest(scaled("a", 1, 5), queue("b", 2)))
    after = rescale(before, {"a": 4, "b": 9, "c": 3})
    assert after.targets == {"a": 4}
    assert [wanted(after, name) for name in ("a", "b")] == [4, 2]
    assert [wanted(rescale(after, {"a": n}), "a") for n in (0, 9)] == [1, 5]


def test_only_a_schedule_may_go_below_the_range() -> None:
    night = Period("0 0 * * *", 3600.0, "UTC", most=1)
    assert wanted(rescale(Intent(manifest(scaled("a", 3, 5, night))), {"a": 1}), "a") == 1
    assert wanted(rescale(Intent(manifest(scaled("a", 3, 5, night))), {"a": 0}), "a") == 1


def test_what_a_person_says_counts_more_than_a_target() -> None:
    automatic = rescale(Intent(manifest(scaled("a", 1, 5))), {"a": 4})
    by_hand = scale(automatic, "a", ScaleBy(3))
    assert wanted(by_hand, "a") == 7
    assert wanted(scale(by_hand, "a", Auto()), "a") == 4


def test_targets_give_way_to_what_people_want() -> None:
    small = replace(manifest(scaled("a", 1, 9), scaled("b", 1, 9), queue("c", 1)), budget=12)
    full = rescale(Intent(small), {"a": 7, "b": 4})
    assert wanted_in_all(full) == 12
    more = scale(full, "c", ScaleTo(6))
    assert (wanted_in_all(more), wanted(more, "c"), wanted(more, "b")) == (12, 6, 4)
    with pytest.raises(ValueError, match="c can have 10"):
        scale(full, "c", ScaleTo(11))
    smaller = adopt(full, replace(small, budget=5))
    assert wanted_in_all(smaller) == 5


def test_another_manifest_keeps_targets_of_queues_that_still_scale() -> None:
    before = rescale(Intent(manifest(scaled("a", 1, 5), scaled("b", 1, 5))), {"a": 3, "b": 3})
    after = adopt(before, manifest(scaled("a", 1, 5), queue("b", 1)))
    assert after.targets == {"a": 3}
