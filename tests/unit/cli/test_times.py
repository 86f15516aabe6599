"""Times as people type them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from procq.cli.logsearch import Question
from procq.cli.times import duration_of, moment_of
from procq.errors import UsageError

NOW = datetime(2026, 11, 24, 10, 42, 30, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("5m", 300),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("10:40", 150),
        ("9:42:30", 3600),
        ("23:42:30", 11 * 3600),
        ("2026-11-24T10:42:29Z", 1),
        ("2026-11-24T11:42:29.500+01:00", 0.5),
        ("2026-11-24 10:42", 30),
        ("2026-11-24", 10 * 3600 + 42 * 60 + 30),
    ],
)
def test_a_moment_is_a_time_or_how_long_ago(text: str, ago: float) -> None:
    assert moment_of(text, "--since", NOW) == pytest.approx(NOW - ago, abs=1e-3)


@pytest.mark.parametrize("text", ["", "5", "yesterday", "25:00", "-5m", "5 m", "٥m"])
def test_what_is_no_moment_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        moment_of(text, "--since", NOW)
    with pytest.raises(UsageError, match="--wait"):
        duration_of("soon", "--wait")


def test_an_end_before_the_beginning_is_refused() -> None:
    options = argparse.Namespace(since="5m", until="10m", grep=None, tail=None)
    with pytest.raises(UsageError, match="--until 10m is before --since 5m") as refused:
        Question.of(options, None)
    assert refused.value.hint == "Is it `--since 10m --until 5m`?"
    assert Question.of(argparse.Namespace(since="10m", until="5m", grep=None, tail=None), None).selects
