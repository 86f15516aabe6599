"""The program that is run, what it says, and the bare loop beside which everything is measured."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_WORD = struct.Struct("=qi4s")
_SOURCE = Path(__file__).with_name("worker.c")
PATIENCE = 60.0
"""Seconds after which something that should happen counts as never happening."""


class Stuck(RuntimeError):
    """What should have happened did not."""


def compile_worker(scratch: Path) -> Path:
    """Builds `worker.c`. Raises Stuck without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Stuck("the benchmarks need a C compiler: install gcc")
    program = scratch / "worker"
    subprocess.run([compiler, "-O2", "-Wall", "-o", program, _SOURCE], check=True)
    return program


@dataclass(frozen=True, slots=True)
class Word:
    """What a worker said, and when (seconds of the monotonic clock).

    `s`: it executes; `t`: it was told to leave; `g` and `e`: it begins and ends to write.
    """

    at: float
    pid: int
    what: str


@dataclass
class Ear:
    """Hears the workers. `path` is the FIFO they write to."""

    path: Path
    _fd: int = field(init=False)
    _go: int = field(init=False)

    def __enter__(self) -> Ear:
        os.mkfifo(self.path)
        os.mkfifo(f"{self.path}.go")
        # For reading and writing: they have an end only when we say so.
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._go = os.open(f"{self.path}.go", os.O_RDWR | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        os.close(self._go)
        os.unlink(self.path)
        os.unlink(f"{self.path}.go")

    def hear(self, what: str, count: int, patience: float = PATIENCE) -> list[Word]:
        """The next `count` words, each of which must be one of `what`. Raises Stuck."""
        words: list[Word] = []
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        deadline = time.monotonic() + patience
        while len(words) < count:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise Stuck(f"heard {len(words)} of {count} workers say {what!r} within {patience:g} s")
            data = os.read(self._fd, _WORD.size * (count - len(words)))
            for at, pid, letter in _WORD.iter_unpack(data):
                words.append(Word(at / 1e9, pid, letter.rstrip(b"\0").decode()))
        if any(word.what not in what for word in words):
            raise Stuck(f"expected {what!r}, heard {''.join(word.what for word in words)!r}")
        return words

    def forget(self) -> None:
        """What was said and not heard."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 1 << 16):
                pass

    def flood(self, count: int) -> float:
        """Lets `count` flooding workers write once: seconds from the first's begin to the last's end."""
        os.write(self._go, b"!" * count)
        words = self.hear("ge", 2 * count)
        return max(word.at for word in words) - min(word.at for word in words)


class Watched:
    """Processes whose end is awaited by pidfds: exact, and without touching them."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._fds = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                self._fds.append(os.pidfd_open(pid))

    def ended(self, patience: float = PATIENCE) -> float:
        """When the last of them had ended, seconds of the monotonic clock. Raises Stuck."""
        poll = select.poll()
        for fd in self._fds:
            poll.register(fd, select.POLLIN)
        left = len(self._fds)
        deadline = time.monotonic() + patience
        last = time.monotonic()
        while left:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise Stuck(f"{left} of {len(self._fds)} processes have not ended within {patience:g} s")
            last = time.monotonic()
            for fd, _ in ready:
                poll.unregister(fd)
                left -= 1
        return last

    def close(self) -> None:
        """Lets go of them."""
        for fd in self._fds:
            os.close(fd)


def spawn_bare(command: list[str]) -> int:
    """One process by posix_spawn; returns once it executes."""
    return os.posix_spawn(command[0], command, os.environ)


@contextlib.contextmanager
def bare(command: list[str], count: int, ear: Ear) -> Iterator[tuple[float, list[int]]]:
    """`count` processes by a bare loop: seconds until the last one executes, and their pids. Ends them."""
    began = time.monotonic()
    pids = [spawn_bare(command) for _ in range(count)]
    try:
        yield max(word.at for word in ear.hear("s", count)) - began, pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def floor_start(command: list[str], count: int, ear: Ear) -> float:
    """Seconds of a bare loop until `count` of them execute."""
    with bare(command, count, ear) as (seconds, _):
        return seconds
