"""Durations, tables, colours, and what may reach a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procq import text
from procq.text import Style


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (-1, "0 ms"),
        (0.0414, "41 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (59.4, "59 s"),
        (59.6, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (3660, "1h 1m"),
        (86_400 * 3 + 3600 * 4 + 59, "3d 4h"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    ("each_second", "said"),
    [
        (0, "0/s"),
        (1234.5, "1,234/s"),
        (12.34, "12/s"),
        (2, "2/s"),
        (2.34, "2.3/s"),
        (0.9999, "1.0/s"),
        (0.05, "3/min"),
        (1 / 3600, "1/h"),
        (1e-6, "<1/h"),
    ],
)
def test_rates(each_second: float, said: str) -> None:
    assert text.rate(each_second) == said


def test_counts_and_lists() -> None:
    assert text.count(1, "worker") == "1 worker"
    assert text.count(2300, "process", "processes") == "2,300 processes"
    assert text.listing([]) == ""
    assert text.listing(["a"]) == "a"
    assert text.listing(["a", "b", "c"]) == "a, b and c"
    assert text.listing(list("abcdefg")) == "a, b, c, d and 3 more"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]52;c;c2VjcmV0\x1b\\x", "x"),
        ("\x1bPq#0\x1b\\x", "x"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("bell\x07 back\x08 return\r nul\x00 del\x7f c1\x9b31m", "bell back return nul del c131m"),
        ("\x1b[?1049h", ""),
        ("\x1bc", ""),
        ("\x1b", ""),
        ("tab\tand ünïcode 漢", "tab\tand ünïcode 漢"),
    ],
)
def test_only_colours_reach_the_terminal(written: str, shown: str) -> None:
    assert text.visible(written) == shown


@given(st.text())
def test_nothing_but_colours_reaches_the_terminal(written: str) -> None:
    shown = text.visible(written)
    without_colours = text._SGR.sub("", shown)
    assert not any((ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 for c in without_colours)


def test_names_stay_on_one_line() -> None:
    assert text.plain("a\nb\x1b[31mc\rd") == "a⏎bcd"


def test_tables_align_whatever_the_colours() -> None:
    style = Style(True)
    rows = [("A", "N"), (style("long", "red"), "1"), ("x", style("12", "dim"))]
    assert [text._SGR.sub("", line) for line in text.table(rows, right=(1,))] == ["A       N", "long    1", "x      12"]
    assert text.table([]) == []


def test_cutting_keeps_colours_and_ends_them() -> None:
    assert text.cut("short", 10) == "short"
    assert text.cut("much too long", 6) == "much …"
    assert text.cut("\x1b[31mmuch too long\x1b[0m", 6) == "\x1b[31mmuch \x1b[0m…\x1b[0m"


@pytest.mark.parametrize(
    ("environ", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(environ: dict[str, str], terminal: bool, wanted: bool) -> None:
    assert text.wants_color(environ, terminal) is wanted


def test_a_worker_keeps_its_colour() -> None:
    assert Style(True).prefix("emails.1", 10) == Style(True).prefix("emails.1", 10)
    assert Style(False).prefix("emails.1", 10) == "emails.1  "


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1K"),
        (430_000_000, "410M"),
        (5 << 20, "5.0M"),
        (4 << 30, "4.0G"),
        (9 << 40, "9.0T"),
    ],
)
def test_size(count: int, shown: str) -> None:
    assert text.size(count) == shown
