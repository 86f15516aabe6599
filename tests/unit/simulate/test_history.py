"""What the journal has seen becomes a load again."""

from __future__ import annotations

import pytest

from procq.errors import UsageError
from procq.journal.record import Sample
from procq.simulate.history import from_samples


def sample(at: float, waiting: float | None, started: int | None) -> Sample:
    return Sample(1_000_000.0 + at, "emails", waiting, 3, 2, None, started)


def test_what_has_come_is_what_was_begun_and_what_waits() -> None:
    load = from_samples("emails", [sample(0, 5, 0), sample(20, 25, 80), sample(80, 0, 105)], 2.0, 0)
    assert len(load.arrivals) == 100
    assert max(load.arrivals) <= 20.0
    assert sum(at < 10 for at in load.arrivals) == 50
    assert load.seconds == 90.0


def test_sums_that_begin_anew_and_times_without_procq_bring_no_jobs() -> None:
    seen = [sample(0, 0, 1000), sample(10, 0, 1010), sample(20, 0, 0), sample(30, 0, 5), sample(5000, 0, 900)]
    assert len(from_samples("emails", seen, 1.0, 0).arrivals) == 15


@pytest.mark.parametrize(
    "seen", [[], [sample(0, 1, 1)], [sample(0, None, 1), sample(10, 1, None)], [sample(0, 0, 5), sample(10, 0, 5)]]
)
def test_where_nothing_was_seen_nothing_can_be_replayed(seen: list[Sample]) -> None:
    with pytest.raises(UsageError):
        from_samples("emails", seen, 1.0, 0)
