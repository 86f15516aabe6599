"""What procq's own processes use, against what the kernel says elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from procq.telemetry.processes import look


def test_a_process_that_runs() -> None:
    known, me = psutil.Process(), os.getpid()
    began = time.monotonic()
    while time.monotonic() - began < 0.05:
        pass
    (found,) = look({"me": me})
    assert found.name == "me"
    assert found.seconds == pytest.approx(sum(known.cpu_times()[:2]), abs=0.05)
    assert found.memory == pytest.approx(known.memory_info().rss, rel=0.1)
    assert found.threads == known.num_threads()
    assert found.age == pytest.approx(time.time() - known.create_time(), abs=2)


@pytest.mark.parametrize("told", [True, False], ids=["the kernel tells their number", "an older one does not"])
def test_descriptors_are_counted(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not told:
        monkeypatch.setattr(os, "stat", lambda path: SimpleNamespace(st_size=0))
    # One more is what the folder is read by.
    assert abs(look({"me": os.getpid()})[0].descriptors - psutil.Process().num_fds()) <= 1
    before = look({"me": os.getpid()})[0].descriptors
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(7)]
    try:
        assert look({"me": os.getpid()})[0].descriptors == before + 7
    finally:
        for number in opened:
            os.close(number)


def test_a_name_that_looks_like_more_fields(tmp_path: Path) -> None:
    stat = "7 (a) 1 (b) S 1 7 7 0 -1 4194560 0 0 0 0 250 50 0 0 20 0 3 0 1000 0 11 0 0 0\n"
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "stat").write_text(stat)
    (tmp_path / "uptime").write_text("70.00 1.00\n")
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    (folder / "fd").mkdir()
    (found,) = look({"keeper": 7}, tmp_path)
    assert (found.seconds, found.memory, found.threads, found.age) == (300 / ticks, 11 * page, 3, 70 - 1000 / ticks)


def test_who_is_gone_or_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert [each.name for each in look({"gone": 2**22 + 1, "me": os.getpid()})] == ["me"]
    assert look({"me": 1}, tmp_path) == ()
