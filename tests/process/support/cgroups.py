"""Control groups from outside: those that procq makes in the group in which the tests run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.process.support.waiting import until

PREFIX = "procq-"


@cache
def own() -> Path | None:
    """The group of the tests, where cgroup v2 is mounted."""
    name = group_of("self")
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [line.split(" ") for line in lines if " - cgroup2 " in line]
    if name is None or not mounts:
        return None
    return Path(mounts[-1][4]) / name.removeprefix(mounts[-1][3]).lstrip("/")


def group_of(pid: int | str) -> str | None:
    """As the kernel calls it; None for a process that has gone, and without cgroup v2."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    return next((line[3:] for line in lines if line.startswith("0::")), None)


def bases() -> Iterator[Path]:
    """The group of each procq that was started from the group of the tests."""
    found = own()
    if found is not None:
        yield from (path for path in found.glob(f"{PREFIX}*") if path.is_dir())


def base_of(instance: int) -> Path:
    """The one of this procq."""
    return next(path for path in bases() if path.name.endswith(f"-{instance:x}"))


def members(group: Path) -> list[int]:
    """Processes in it, and below it."""
    found = []
    for path in group.rglob("cgroup.procs"):
        try:
            found += [int(pid) for pid in path.read_text().split()]
        except OSError:
            continue
    return found


def remove(group: Path) -> None:
    """Ends what lives in it, and removes it with all below it."""

    def gone() -> bool:
        with contextlib.suppress(OSError):
            (group / "cgroup.kill").write_text("1")
        for path in sorted(group.rglob("*"), reverse=True):
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()

    until(gone, f"{group} to be removed")


def remove_of(instance: int) -> None:
    """Removes what the keeper of that number could not: killed with its sentinel, or with somebody left in it."""
    for base in [base for base in bases() if base.name.endswith(f"-{instance:x}")]:
        remove(base)
