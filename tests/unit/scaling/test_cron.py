"""Starts around changes of the clock, in all years that have rules, against a clock that is looked at each minute."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.scaling.cron import Cron
from tests.unit.scaling.transitions import DAY, Matches, by_the_wall, once, transitions

Oracle = Callable[[ZoneInfo, Matches, int, int], list[int]]

# By an hour, by half of one, at midnight, with changes of the standard time, with a day left out, without any.
ZONES = (
    "Africa/Casablanca",
    "America/Caracas",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Volgograd",
    "Pacific/Apia",
    "Pacific/Chatham",
)
CASES: dict[str, tuple[Oracle, Matches]] = {
    "30 2 * * *": (once, lambda t: (t.hour, t.minute) == (2, 30)),
    "0 0 * * *": (once, lambda t: (t.hour, t.minute) == (0, 0)),
    "@daily": (once, lambda t: (t.hour, t.minute) == (0, 0)),
    "15,45 0-3 * * *": (once, lambda t: t.hour <= 3 and t.minute in (15, 45)),
    "0 8 * * 1-5": (once, lambda t: (t.hour, t.minute) == (8, 0) and t.weekday() < 5),
    "5 * * * *": (by_the_wall, lambda t: t.minute == 5),
    "@hourly": (by_the_wall, lambda t: t.minute == 0),
    "*/15 * * * *": (by_the_wall, lambda t: t.minute % 15 == 0),
    "* 3 * * *": (by_the_wall, lambda t: t.hour == 3),
    "0 */2 * * *": (by_the_wall, lambda t: t.minute == 0 and t.hour % 2 == 0),
}


def compare(expression: str, name: str, change: int) -> None:
    oracle, matches = CASES[expression]
    zone, cron = ZoneInfo(name), Cron(expression, name)
    since, until = change - change % 60 - DAY // 4, change + DAY // 2
    expected = oracle(zone, matches, since - DAY, until)
    found, at = [], cron.after(since - 1)
    while at is not None and at < until:
        found.append(int(at))
        at = cron.after(at)
    assert found == [start for start in expected if start >= since], (expression, name, change)
    for at in range(since, until, 37 * 60 + 7):
        last = max((start for start in expected if start <= at), default=None)
        assert last is None or cron.before(at) == last, (expression, name, at)


@pytest.mark.parametrize("name", ZONES)
def test_faults_51_around_changes_of_the_clock(name: str) -> None:
    for number, change in enumerate(list(transitions(ZoneInfo(name)))[::3]):
        compare(list(CASES)[number % len(CASES)], name, change)


@pytest.mark.parametrize("expression", CASES)
@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"])
def test_each_kind_of_expression(expression: str, name: str) -> None:
    for change in [each for each in transitions(ZoneInfo(name)) if 1_300_000_000 < each < 1_350_000_000]:
        compare(expression, name, change)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_all_changes_of_all_zones() -> None:
    seen = set()
    for name in sorted(available_timezones()):
        changes = tuple(transitions(ZoneInfo(name), DAY))
        if changes not in seen:
            seen.add(changes)
            for number, change in enumerate(changes):
                compare(list(CASES)[number % len(CASES)], name, change)
    assert len(seen) > 100


@settings(deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 9-17 * * MON-FRI", "0 0 L * *", "10 4 1 */3 *", "5 1 * * 0#2"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]),
    st.integers(1_000_000_000, 2_000_000_000),
)
def test_cronsim_with_a_zone_says_the_same_where_the_hour_does_not_come_twice(
    expression: str, name: str, at: int
) -> None:
    here = datetime.fromtimestamp(at, ZoneInfo(name))
    if here.replace(fold=1).utcoffset() == here.replace(fold=0).utcoffset():
        assert Cron(expression, name).after(at) == next(CronSim(expression, here)).timestamp()


@settings(deadline=None)
@given(st.sampled_from([*CASES, "0 0 29 2 *", "0 12 L 2 *"]), st.sampled_from(ZONES), st.integers(10**9, 2 * 10**9))
def test_before_and_after_fit_together(expression: str, name: str, at: int) -> None:
    cron = Cron(expression, name)
    after = cron.after(at)
    assert after is not None and after > at
    assert cron.before(after) == after
    before = cron.before(after - 1)
    assert before is not None and before <= at
    assert cron.after(before) == after


def test_leap_days() -> None:
    cron = Cron("0 0 29 2 *", "UTC")
    years, at = [], datetime.fromisoformat("2090-01-01T00:00Z").timestamp()
    for _ in range(4):
        after = cron.after(at)
        assert after is not None
        at = after
        years.append(datetime.fromtimestamp(at, ZoneInfo("UTC")).year)
    assert years == [2092, 2096, 2104, 2108]


def test_parts_of_a_second() -> None:
    cron = Cron("* * * * *", "UTC")
    assert (cron.before(59.9), cron.after(59.9), cron.before(60.0), cron.after(60.0)) == (0, 60, 60, 120)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "five fields"),
        ("0 8 * *", "has 4"),
        ("0 0 8 * * 1-5", "has 6"),
        ("60 8 * * *", "minutes are 0 to 59"),
        ("0 24 * * *", "hours are 0 to 23"),
        ("0 8 0 * *", "days of the month"),
        ("0 8 30 2 *", "days of the month"),
        ("0 8 * 13 *", "months are 1 to 12"),
        ("0 8 * * MONDAY", "days of the week"),
        ("0 8 */20 2 0#5,1L", "never comes"),
        ("@reboot", "there are @yearly"),
        ("0 8 * * " + "1," * 500, "five fields"),
        ("9" * 5000 + " * * * *", "five fields"),
    ],
)
def test_what_is_no_time_is_told(expression: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Cron(expression, "UTC")


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789*/,-#LW@ ²MONJA"), max_size=30))
def test_whatever_is_written_is_taken_or_refused(expression: str) -> None:
    try:
        cron = Cron(expression, "UTC")
    except ValueError:
        return
    assert cron.after(1e9) is not None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("Europe", "Europe"),
        ("", "as Europe/Berlin"),
        ("/etc/passwd", "as Europe/Berlin"),
        ("../etc/passwd", "as Europe/Berlin"),
        ("x\0y", "as Europe/Berlin"),
    ],
)
def test_what_is_no_time_zone_is_told(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Cron("@daily", name)


def test_a_machine_without_time_zones_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procq.scaling.cron.available_timezones", set)
    with pytest.raises(ValueError, match="tzdata"):
        Cron("@daily", "Mars/Olympus")
