"""Memory and time of processes, from outside."""

from __future__ import annotations

from pathlib import Path


def pss(pid: int) -> int:
    """Bytes of memory, what is shared counted in parts."""
    return _kilobytes(pid, "smaps_rollup", "Pss:")


def peak(pid: int) -> int:
    """The most bytes that were resident since `forget_peak`."""
    return _kilobytes(pid, "status", "VmHWM:")


def forget_peak(pid: int) -> None:
    """Begins anew with `peak`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu(pid: int) -> float:
    """Seconds that all its threads have run, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _kilobytes(pid: int, file: str, key: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{key} is not in /proc/{pid}/{file}")
