"""Output: how fast 80-byte lines pass into log files, a console in a file or a pipe, past a stopped reader."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benches.kit import Row, mib, rate, read_number, times
from benches.processes import forget_peak, peak
from benches.programs import PATIENCE, Ear, Stuck, compile_worker
from benches.stack import Stack, queue

_LINE = 80
_BLOCK = 65_520
"""What a writer writes at once: whole lines, just below 64 KiB."""
_BYTES = 1 << 29
_REPEATS = 5
_PAIRS = 9
_SETTLE = 0.2
_WRITERS = (1, 8)


@dataclass(frozen=True, slots=True)
class _Passed:
    """Bytes a second, and what the keeper needed at most."""

    rate: float
    memory: int = 0


def run(scratch: Path) -> list[Row]:
    """Each way of output beside the same writers into programs that only copy into a file."""
    program = compile_worker(scratch)
    with Ear(scratch / "ear") as ear:
        bench = _Bench(scratch, program, ear)
        floors = {writers: bench.floor(writers) for writers in _WRITERS}
        ways = (
            ("log file, no console", lambda n: bench.log(n, "gone"), None),
            ("log file, console /dev/null", lambda n: bench.log(n, "null"), None),
            ("prefixed into a file", bench.console_file, 300e6),
            ("prefixed into a pipe", bench.console_pipe, 100e6),
        )
        rows = [_row(f"{what}, {n} writing", way(n), floors[n], aim) for what, way, aim in ways for n in _WRITERS]
        alone, beside, ratio = bench.stopped_reader()
    what = "log file beside a stopped `logs -f` (floor: without)"
    return [*rows, Row(what, _shown(beside), rate(alone.rate, 1), times(ratio), "1×", ratio > 0.9)]


def _row(what: str, passed: _Passed, floor: _Passed, aim: float | None) -> Row:
    ratio = times(passed.rate / floor.rate)
    met = None if aim is None else passed.rate >= aim
    return Row(what, _shown(passed), rate(floor.rate, 1), ratio, "" if aim is None else rate(aim, 1), met)


def _shown(passed: _Passed) -> str:
    return f"{rate(passed.rate, 1)}, keeper {mib(passed.memory)}"


class _Bench:
    """One scratch folder and one program for all ways."""

    def __init__(self, scratch: Path, program: Path, ear: Ear) -> None:
        self._scratch, self._program, self._ear = scratch, str(program), ear
        self._console, self._count = scratch / "console", scratch / "count"

    def floor(self, writers: int) -> _Passed:
        """The writers, each into a copying program."""
        files = [self._scratch / f"floor.{n}" for n in range(writers)]
        sources = [subprocess.Popen(self._flood(writers), stdout=subprocess.PIPE) for _ in files]
        copies = [
            subprocess.Popen([self._program, "copy", file], stdin=source.stdout)
            for source, file in zip(sources, files, strict=True)
        ]
        try:
            self._ear.hear("s", writers)
            return self._repeat(writers, files)
        finally:
            for source in sources:
                source.kill()
                source.communicate()
            for copy in copies:
                copy.wait(PATIENCE)

    def log(self, writers: int, console: str) -> _Passed:
        """A file for each worker; the console as said."""
        with self._stack(writers, console, log=True) as stack:
            return self._repeat(writers, self._logs(writers), stack.ready().keeper)

    def console_file(self, writers: int) -> _Passed:
        """Lines behind the names of their workers, in one file."""
        with self._stack(writers, "file") as stack:
            return self._repeat(writers, [self._console], stack.ready().keeper)

    def console_pipe(self, writers: int) -> _Passed:
        """The same into a pipe. It makes no worker wait, so what counts is what arrives, lines without their prefix."""
        seconds = 0.0
        with self._stack(writers, "pipe") as stack:
            keeper = stack.ready().keeper
            forget_peak(keeper)
            for _ in range(_REPEATS):
                seconds += self._ear.flood(writers)
                time.sleep(_SETTLE)
            memory = peak(keeper)
        return _Passed(read_number(self._count) * _LINE / seconds, memory)

    def stopped_reader(self) -> tuple[_Passed, _Passed, float]:
        """A log file without and with a `procq logs -f` that does not run, in turns; and the median of their ratios."""
        alone, beside = [], []
        with self._stack(1, "gone", log=True) as stack:
            keeper = stack.ready().keeper
            self._repeat(1, self._logs(1), repeats=1)
            forget_peak(keeper)
            for _ in range(_PAIRS):
                alone.append(self._repeat(1, self._logs(1), repeats=1).rate)
                reader = stack.start("logs", "-f")
                try:
                    assert reader.stdout is not None
                    reader.stdout.read(1)
                    reader.send_signal(signal.SIGSTOP)
                    beside.append(self._repeat(1, self._logs(1), repeats=1).rate)
                finally:
                    reader.kill()
                    reader.communicate()
            memory = peak(keeper)
        ratios = [with_ / without for with_, without in zip(beside, alone, strict=True)]
        medians = [_Passed(statistics.median(rates), memory) for rates in (alone, beside)]
        return medians[0], medians[1], statistics.median(ratios)

    def _repeat(
        self, writers: int, files: Sequence[Path], keeper: int | None = None, repeats: int = _REPEATS
    ) -> _Passed:
        rates = []
        if keeper is not None:
            forget_peak(keeper)
        for _ in range(repeats):
            for file in files:
                if file.exists():
                    os.truncate(file, 0)
            seconds = self._ear.flood(writers)
            rates.append(_each(writers) * writers / seconds)
            _await_size(files, _each(writers) * writers)
        return _Passed(statistics.median(rates), 0 if keeper is None else peak(keeper))

    def _flood(self, writers: int) -> list[str]:
        return [self._program, "flood", str(self._ear.path), str(_each(writers))]

    def _logs(self, writers: int) -> list[Path]:
        return [self._scratch / f"log.{slot + 1}" for slot in range(writers)]

    @contextlib.contextmanager
    def _stack(self, writers: int, console: str, log: bool = False) -> Iterator[Stack]:
        keys = {"logs_file": f"{self._scratch}/log.{{slot}}"} if log else {}
        manifest = queue(self._flood(writers), writers, **keys)
        with self._open(console) as stdout, Stack(self._scratch, manifest, stdout) as stack:
            self._ear.hear("s", writers)
            yield stack

    @contextlib.contextmanager
    def _open(self, console: str) -> Iterator[int | IO[bytes]]:
        match console:
            case "null":
                yield subprocess.DEVNULL
            case "file":
                with self._console.open("ab") as file:
                    yield file
            case "gone":
                reader, writer = os.pipe()
                os.close(reader)
                with open(writer, "wb") as pipe:
                    yield pipe
            case "pipe":
                with subprocess.Popen([self._program, "count", self._count], stdin=subprocess.PIPE) as counting:
                    assert counting.stdin is not None
                    yield counting.stdin


def _each(writers: int) -> int:
    return _BYTES // writers // _BLOCK * _BLOCK


def _await_size(files: Sequence[Path], size: int) -> None:
    """Until the files have what was written. Raises Stuck: something was lost."""
    deadline = time.monotonic() + PATIENCE
    while (found := sum(file.stat().st_size for file in files)) < size:
        if time.monotonic() > deadline:
            raise Stuck(f"{size - found} of {size} bytes are missing")
        time.sleep(0.01)
