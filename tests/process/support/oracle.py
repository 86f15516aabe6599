"""The leak oracle: what a test may not leave behind. `test_oracle.py` plants leaks to show that it finds them."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.process.support import cgroups, processes

_PATIENCE = 2.0


class Oracle:
    """Knows the processes of one test by a cookie in their environment and by the marks of the keepers it started."""

    def __init__(self) -> None:
        self.cookie = uuid.uuid4().hex
        self._instances: set[int] = set()
        self._run_roots: list[Path] = []

    def knows(self, instance: int) -> None:
        """A keeper of the test marks its trees with this."""
        self._instances.add(instance)

    def looks_at(self, run_root: Path) -> None:
        """Sockets of the test are below it."""
        self._run_roots.append(run_root)

    def alive(self, besides: Iterable[int] = ()) -> list[int]:
        """Every process of the test, zombies included."""
        excepted = {os.getpid(), *besides}
        return [pid for pid in processes.pids() if pid not in excepted and self._is_ours(pid)]

    def leaks(self, seconds: float = _PATIENCE) -> list[str]:
        """What is left, in words; waits so long for what is just going."""
        kinds = (self._left_processes, _own_zombies, self._left_files, self._left_groups, self._left_sockets)
        return settled(lambda: [leak for kind in kinds for leak in kind()], seconds)

    def clean_up(self) -> None:
        """Ends what is left, so that one failure does not become many. By pid, checked just before."""
        for pid in self.alive():
            try:
                handle = os.pidfd_open(pid)
            except OSError:
                continue
            if self._is_ours(pid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
        for group in self._groups():
            cgroups.remove(group)

    def _is_ours(self, pid: int) -> bool:
        if processes.environment(pid).get(processes.COOKIE) == self.cookie:
            return True
        return bool(self._instances) and processes.instance(pid) in self._instances

    def _left_processes(self) -> list[str]:
        found = (processes.stat(pid) for pid in self.alive())
        return [f"process {s.pid} ({s.state}) {processes.command(s.pid) or s.name}" for s in found if s is not None]

    def _left_files(self) -> list[str]:
        left = (path for root in self._run_roots for path in root.rglob("*"))
        return [f"file {path}" for path in left if not path.is_dir() and path.name != "lock"]

    def _left_groups(self) -> list[str]:
        return [f"control group {path}" for path in self._groups()]

    def _groups(self) -> Iterator[Path]:
        projects = [f"-{path.name}-" for root in self._run_roots if root.is_dir() for path in root.iterdir()]
        instances = [f"-{instance:x}" for instance in self._instances]
        for path in cgroups.bases():
            if path.name.endswith(tuple(instances)) or any(project in path.name for project in projects):
                yield path

    def _left_sockets(self) -> list[str]:
        """Notify sockets have the instance in their names."""
        ours = tuple(f"@procq/{instance:x}/" for instance in self._instances)
        return [f"notify socket {name}" for name in processes.abstract_sockets() if name.startswith(ours)]


def _own_zombies() -> list[str]:
    return [f"zombie {found.pid} ({found.name})" for found in processes.zombies_of(os.getpid())]


def settled(leaks: Callable[[], list[str]], seconds: float = _PATIENCE) -> list[str]:
    """The last answer of `leaks`: the first empty one, or the one when time is up."""
    deadline = time.monotonic() + seconds
    while (found := leaks()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def keeper_excess(pid: int, baseline: Counter[str], workers: int, logs: bool = False) -> list[str]:
    """Descriptors of a keeper above its baseline, less what each of `workers` more needs, and its zombies.

    `logs`: workers run that may have a log file open each.
    """
    allowance = {"anon_inode:[pidfd]": workers, "pipe": 2 * workers, "terminal": 2 * workers, "socket": 2 * workers}
    extra = processes.descriptors(pid) - baseline
    excess = {kind: n - allowance.get(kind, int(logs and kind.startswith("/"))) for kind, n in extra.items()}
    found = [f"{n} × {kind} too many in the keeper" for kind, n in excess.items() if n > 0]
    return found + [f"zombie {zombie.pid} ({zombie.name}) of the keeper" for zombie in processes.zombies_of(pid)]
