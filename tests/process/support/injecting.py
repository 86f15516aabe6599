"""System calls that fail because strace makes them fail: which ones a spawn makes, and what one of them returns."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.process.support.waiting import PATIENCE, until

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
_RETURNS = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>")
_TELLING = {
    "prctl": re.compile(r"^(\w+)"),
    "fcntl": re.compile(r", (F_\w+)"),
    "ioctl": re.compile(r", (\w+)"),
    "epoll_ctl": re.compile(r"EPOLL_CTL_(\w+)"),
    "openat": re.compile(r'"([^"]+)"'),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One that a spawn makes. `name` tells it from others in words; it is the `nth` of its `syscall` on its side."""

    side: str
    name: str
    syscall: str
    nth: int


@cache
def can_trace() -> bool:
    """Whether strace is here and may attach to a process."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


@contextmanager
def strace(pid: int, output: Path, *options: str) -> Iterator[None]:
    """While this lasts the process is traced; what it did is in `output` afterwards."""
    command = ["strace", "-o", str(output), *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        assert b"attached" in (said := tracer.stderr.readline()), said
        until(lambda: _is_traced_by(pid, tracer.pid), "strace to attach")
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGTERM)
            tracer.stderr.read()
            tracer.wait(PATIENCE)


def _is_traced_by(pid: int, tracer: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return any(f"TracerPid:\t{tracer}\n" in (task / "status").read_text() for task in tasks)


def read(trace: str, parent: int) -> list[Call]:
    """The calls of parent and child, in order; those of the child up to the exec that happens."""
    calls: list[Call] = []
    counts: Counter[tuple[str, str]] = Counter()
    names: Counter[tuple[str, str]] = Counter()
    child: int | None = None
    started = executed = False
    for line in trace.splitlines():
        parsed = _CALL.match(line)
        if not parsed:
            continue
        pid, syscall, arguments = int(parsed[1]), parsed[2], parsed[3]
        started = started or (pid == parent and syscall.startswith("clone"))
        if pid != parent and started and child is None and syscall == "setsid":
            child = pid
        if pid not in (parent, child) or (pid == child and executed):
            continue
        executed = executed or (pid == child and syscall == "execve")
        side = "parent" if pid == parent else "child"
        counts[side, syscall] += 1
        name = _name(syscall, arguments)
        names[side, name] += 1
        number = names[side, name]
        calls.append(Call(side, name if number == 1 else f"{name} {number}", syscall, counts[side, syscall]))
    return calls


def _name(syscall: str, arguments: str) -> str:
    if syscall == "prlimit64":
        resource = re.search(r"RLIMIT_\w+", arguments)
        getting = re.search(r"RLIMIT_\w+, NULL", arguments)
        return f"prlimit64 {resource[0] if resource else '?'} {'get' if getting else 'set'}"
    telling = _TELLING.get(syscall)
    found = telling.search(arguments) if telling else None
    return f"{syscall} {re.sub('[0-9]+', 'N', found[1])}" if found else syscall


def injected(trace: str, besides: int | None = None) -> int:
    """How many calls were made to fail, but for those of one process."""
    return sum("(INJECTED)" in line and not line.startswith(f"{besides} ") for line in trace.splitlines())
