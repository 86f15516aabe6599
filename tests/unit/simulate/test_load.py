"""Loads from files and from counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from procq.errors import UsageError
from procq.simulate.load import between, from_counts, read_csv
from procq.simulate.trial import load_of


def written(folder: Path, text: str) -> Path:
    path = folder / "load.csv"
    path.write_text(text)
    return path


def test_a_column_of_seconds(tmp_path: Path) -> None:
    load = read_csv(written(tmp_path, "10\n11.5\n30\n"), 2.0, 0)
    assert list(load.arrivals) == [0.0, 1.5, 20.0]
    assert load.seconds == 80.0


def test_a_column_of_dates_and_others_that_do_not_matter(tmp_path: Path) -> None:
    text = "TIMESTAMP,a,b\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.9799600,1,1\n"
    assert list(read_csv(written(tmp_path, text), 1.0, 0).arrivals) == pytest.approx([0.0, 1.0])


def test_counts_by_the_minute(tmp_path: Path) -> None:
    load = read_csv(written(tmp_path, "minute,requests\n0,3\n1,0\n2,2\n"), 1.0, 0)
    assert [int(at // 60) for at in load.arrivals] == [0, 0, 0, 2, 2]
    assert load.seconds == 180.0


def test_counts_between_dates(tmp_path: Path) -> None:
    load = read_csv(written(tmp_path, "timestamp,value\n2015-02-26 21:42:53,4\n2015-02-26 21:47:53,1\n"), 1.0, 0)
    assert (len(load.arrivals), load.seconds) == (5, 600.0)


@pytest.mark.parametrize("text", ["", "time\n", "time\nx\n", "5,1\n5,1\n", "\x00,\n"])
def test_what_is_no_load_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        read_csv(written(tmp_path, text), 1.0, 0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_of(str(tmp_path / "none.csv"), None, None, None, 0)
    with pytest.raises(UsageError, match="no load"):
        load_of("nothing", None, None, None, 0)


def test_a_week_of_a_long_file_is_taken(tmp_path: Path) -> None:
    rows = "".join(f"{3600 * hour},1\n" for hour in range(24 * 20))
    assert load_of(str(written(tmp_path, rows)), None, None, None, 0).seconds == 7 * 86_400


def test_parts_begin_at_nothing() -> None:
    part = between(from_counts("x", [10, 20, 30], 60.0, 1.0, 0), 60.0, 120.0)
    assert (len(part.arrivals), part.seconds) == (20, 60.0)
    assert min(part.arrivals) >= 0.0


def test_what_is_asked_for_replaces_what_a_load_has() -> None:
    load = load_of("step", 7.0, 9, 0.5, 0)
    assert (load.wait, load.most) == (7.0, 9)
    assert load.work / len(load.services) == pytest.approx(0.5)
