"""procq as process 1 of a container: a PID namespace of its own, with what `docker exec` and `docker stop` do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.project import PROCQ, Procq
from tests.process.support.waiting import PATIENCE, until

_NAMESPACES = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
_AS_USER = ["--user", "--map-root-user"]


def namespaces(rootless: bool) -> list[str]:
    """The command that gives what follows namespaces of its own; skips the test where this machine allows none."""
    words = [*_NAMESPACES, *(_AS_USER if rootless else [])]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace can be had here")
    return words


class Container:
    """`procq up`, or another entry point, as process 1."""

    def __init__(self, procq: Procq, *, rootless: bool = False, entry: Sequence[str] | None = None) -> None:
        self.procq = procq
        command = [*namespaces(rootless), *(entry or [str(PROCQ), "up", str(procq.manifest)])]
        with open(procq.output, "ab") as output:
            self._unshare = subprocess.Popen(
                command,
                cwd=procq.folder,
                env=procq.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.init: int = until(lambda: next(iter(processes.children(self._unshare.pid)), 0), "process 1")
        self._namespace = os.stat(f"/proc/{self.init}/ns/pid").st_ino

    def began(self, workers: int) -> Container:
        """Waits until it is ready, with so many workers."""
        until(
            lambda: self._unshare.poll() is not None or (self.procq.ready() and self.running() == workers),
            lambda: f"{workers} workers; procq said: {self.procq.said()}",
        )
        assert self._unshare.poll() is None, self.procq.said()
        return self

    def running(self) -> int:
        return sum(each.state == "running" for each in self.procq.status().workers)

    def inside(self) -> list[int]:
        """Every process of the container, by its number outside."""
        return [pid for pid in processes.pids() if self._is_inside(pid)]

    def outside(self, pid: int) -> int:
        """The number outside of a process that is `pid` inside."""
        return next(found for found in self.inside() if _inner(found) == pid)

    def execute(self, *command: str) -> subprocess.Popen[str]:
        """As `docker exec`: a process whose parent is not in the container."""
        enter = ["nsenter", "--target", str(self.init), "--all", "--preserve-credentials"]
        return subprocess.Popen(
            [*enter, f"--wdns={self.procq.folder}", *command],
            env=self.procq.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self, number: int, *, inside: bool) -> None:
        """A signal for process 1."""
        if inside:
            with self.execute("kill", f"-{number}", "1") as kill:
                assert kill.wait() == 0
        else:
            os.kill(self.init, number)

    def has_left(self) -> bool:
        return self._unshare.poll() is not None

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code of process 1, as the container's engine shows it."""
        code = self._unshare.wait(seconds)
        assert self.inside() == []
        return code

    def finish(self) -> None:
        """Teardown."""
        if self._unshare.poll() is None:
            os.kill(self.init, signal.SIGKILL)
            self._unshare.wait()

    def _is_inside(self, pid: int) -> bool:
        try:
            return os.stat(f"/proc/{pid}/ns/pid").st_ino == self._namespace
        except OSError:
            return False


def _inner(pid: int) -> int:
    status = Path(f"/proc/{pid}/status")
    try:
        line = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[-1])
