"""Floors and ceilings of periods that overlap, go on, or began long ago; what is remembered between two looks."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.rules import Period
from procq.scaling.cron import Cron
from procq.scaling.schedule import Bounds, Calendar, bounds, check

BERLIN = "Europe/Berlin"
HOUR, DAY = 3600.0, 86_400.0


def when(text: str, zone: str = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def limits(found: Bounds) -> tuple[int | None, int | None]:
    return found.least, found.most


OFFICE = Period("0 8 * * 1-5", 10 * HOUR, BERLIN, least=6)


@pytest.mark.parametrize(
    ("at", "least", "until"),
    [
        ("2026-03-02 07:59:59", None, "2026-03-02 08:00"),
        ("2026-03-02 08:00", 6, "2026-03-02 18:00"),
        ("2026-03-02 17:59:59", 6, "2026-03-02 18:00"),
        ("2026-03-02 18:00", None, "2026-03-03 08:00"),
        ("2026-03-06 18:00", None, "2026-03-09 08:00"),
    ],
)
def test_office_hours(at: str, least: int | None, until: str) -> None:
    found = bounds([OFFICE], when(at))
    assert (limits(found), found.until) == ((least, None), when(until))


def test_what_is_in_force_is_named() -> None:
    assert bounds([OFFICE], when("2026-03-02 12:00")).because == ("at least 6 from 0 8 * * 1-5 (Europe/Berlin) for 10h")
    assert bounds([OFFICE], when("2026-03-02 06:00")).because == ""


def test_no_periods_no_bounds() -> None:
    assert bounds([], 0.0) == Bounds(None, None, "", None)


def test_the_highest_floor_and_the_lowest_ceiling() -> None:
    periods = [
        Period("0 8 * * *", 10 * HOUR, BERLIN, least=2, most=20),
        Period("0 10 * * *", 2 * HOUR, BERLIN, least=9, most=30),
        Period("0 11 * * *", 5 * HOUR, BERLIN, most=12),
    ]
    found = [
        (limits(each), each.until)
        for each in (bounds(periods, when(f"2026-06-01 {hour}:30")) for hour in ("07", "08", "10", "11", "12", "16"))
    ]
    day = "2026-06-01"
    assert found == [
        ((None, None), when(f"{day} 08:00")),
        ((2, 20), when(f"{day} 10:00")),
        ((9, 20), when(f"{day} 11:00")),
        ((9, 12), when(f"{day} 12:00")),
        ((2, 12), when(f"{day} 16:00")),
        ((2, 20), when(f"{day} 18:00")),
    ]


def test_the_ceiling_counts_where_the_floor_is_above_it() -> None:
    found = bounds([Period("@daily", DAY, "UTC", least=9), Period("@daily", HOUR, "UTC", most=4)], 100.0)
    assert limits(found) == (4, 4)
    assert found.because.endswith("; the ceiling counts")
    assert found.until == HOUR


def test_a_beginning_that_changes_nothing_is_no_change() -> None:
    periods = [Period("0 8 * * *", 10 * HOUR, "UTC", least=6), Period("0 9 * * *", HOUR, "UTC", least=3)]
    assert bounds(periods, 8.5 * HOUR).until == 18 * HOUR


def test_a_period_that_began_long_ago() -> None:
    new_year = Period("0 0 1 1 *", 300 * DAY, "UTC", least=1)
    at = when("2026-10-01", "UTC")
    found = bounds([new_year], at)
    assert (found.least, found.until) == (1, when("2026-01-01", "UTC") + 300 * DAY)


def test_longer_than_what_lies_between_two_starts() -> None:
    found = bounds([Period("0 8,12 * * *", 5 * HOUR, "UTC", least=1)], 9 * HOUR)
    assert (found.least, found.until) == (1, 17 * HOUR)
    # Each start lasts into the next one: it never ends, and no end is made up.
    found = bounds([Period("@hourly", 90 * 60.0, "UTC", least=1)], 9 * HOUR)
    assert (found.least, found.until) == (1, None)


def test_a_whole_day_each_day_leaves_out_the_hour_that_comes_twice() -> None:
    found = bounds([Period("@daily", DAY, BERLIN, least=1)], when("2026-07-01 12:00"))
    assert (found.least, found.until) == (1, when("2026-10-25 23:00"))
    found = bounds([Period("@daily", DAY, BERLIN, least=1)], when("2026-10-25 23:30"))
    assert (found.least, found.until) == (None, when("2026-10-26 00:00"))
    # The day of 23 hours ends in the middle of the next one, which has begun by then.
    assert bounds([Period("@daily", DAY, BERLIN, least=1)], when("2026-03-30 00:30")).least == 1


def test_over_changes_of_the_clock_a_period_lasts_as_long_as_ever() -> None:
    night = Period("0 22 * * *", 8 * HOUR, BERLIN, most=1)
    assert bounds([night], when("2026-03-28 23:00")).until == when("2026-03-29 07:00")
    assert bounds([night], when("2026-10-24 23:00")).until == when("2026-10-25 05:00")


def test_a_start_that_is_skipped_is_at_the_change() -> None:
    at_half_past_two = Period("30 2 * * *", HOUR, BERLIN, least=3)
    change = when("2026-03-29 03:00")
    assert bounds([at_half_past_two], change - 1).until == change
    found = bounds([at_half_past_two], change)
    assert (found.least, found.until) == (3, change + HOUR)


def test_a_start_that_comes_twice_is_one() -> None:
    at_half_past_two = Period("30 2 * * *", 30 * 60.0, BERLIN, least=3)
    first = when("2026-10-25 02:30")
    assert bounds([at_half_past_two], first + 10).least == 3
    assert bounds([at_half_past_two], first + HOUR + 10).least is None


def test_each_period_in_its_own_zone() -> None:
    periods = [Period("0 9 * * *", 8 * HOUR, zone, least=n) for zone, n in (("Asia/Tokyo", 2), ("America/New_York", 5))]
    assert bounds(periods, when("2026-06-01 10:00", "Asia/Tokyo")).least == 2
    assert bounds(periods, when("2026-06-01 10:00", "America/New_York")).least == 5


PERIODS = st.builds(
    Period,
    st.sampled_from(["0 8 * * 1-5", "*/7 * * * *", "30 2 * * *", "0 */6 * * *", "@weekly", "0 0 29 2 *"]),
    st.sampled_from([60.0, HOUR, 8 * HOUR, DAY, 9 * DAY]),
    st.sampled_from([BERLIN, "America/New_York", "UTC"]),
    st.sampled_from([None, 1, 5]),
    st.sampled_from([None, 3, 9]),
)
TIMES = st.floats(1_774_700_000, 1_774_900_000) | st.floats(1_792_800_000, 1_793_000_000) | st.floats(1e9, 2e9)


def plainly(period: Period, at: float) -> bool:
    start = Cron(period.cron, period.timezone).before(at)
    return start is not None and at < start + period.seconds


@settings(deadline=None)
@given(st.lists(PERIODS, max_size=4), TIMES, st.lists(st.floats(-3 * DAY, 3 * DAY), max_size=8))
def test_what_is_remembered_is_what_is_found_anew(periods: list[Period], at: float, moves: list[float]) -> None:
    calendar = Calendar()
    for move in [0.0, *moves]:
        at += move
        found = calendar.bounds(periods, at)
        active = [period for period in periods if plainly(period, at)]
        least = max((p.least for p in active if p.least is not None), default=None)
        most = min((p.most for p in active if p.most is not None), default=None)
        assert found.most == most
        assert found.least == (least if least is None or most is None else min(least, most))


@settings(deadline=None)
@given(st.lists(PERIODS, min_size=1, max_size=3), TIMES)
def test_nothing_changes_before_the_next_change_and_something_does_then(periods: list[Period], at: float) -> None:
    now = bounds(periods, at)
    if now.until is None:
        return
    assert now.until > at
    for part in (0.1, 0.5, 0.9, 0.999):
        assert limits(bounds(periods, at + part * (now.until - at))) == limits(now)
    assert limits(bounds(periods, now.until)) != limits(now)


def test_between_changes_no_expression_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar, at = Calendar(), when("2026-03-02 12:00")
    first = calendar.bounds([OFFICE], at)

    def not_again(self: Cron, at: float) -> float:
        raise AssertionError("looked at again")

    monkeypatch.setattr(Cron, "before", not_again)
    monkeypatch.setattr(Cron, "after", not_again)
    assert all(calendar.bounds([OFFICE], at + second) is first for second in range(6 * 3600))
    # Another queue with the same hours: the expression is known.
    assert calendar.bounds([Period("0 8 * * 1-5", 10 * HOUR, BERLIN, most=3)], at).most == 3


def test_check() -> None:
    check("@daily", BERLIN)
    with pytest.raises(ValueError, match="five fields"):
        check("soon", BERLIN)
    with pytest.raises(ValueError, match="did you mean Europe/Berlin"):
        check("@daily", "Europe/Berln")
