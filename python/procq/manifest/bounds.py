"""What this process may give to workers: a niceness and resource limits beyond its own take root."""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress

from procq.manifest.units import BYTE_LIMITS, Refused
from procq.model import Limit


def check_total(total: int, rotate: int | None) -> None:
    """Raises Refused for a log in which a closed file would leave no room for another one."""
    if rotate is not None and total < 2 * rotate:
        raise Refused("two files of the size that `rotate` allows do not fit", f"at least twice that: {2 * rotate}B")


def check_nice(value: int) -> None:
    """Raises Refused for a niceness that procq has no right to."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    floor = own
    with suppress(OSError, ValueError, AttributeError):
        soft = resource.getrlimit(resource.RLIMIT_NICE)[0]
        floor = min(own, -20 if soft == resource.RLIM_INFINITY else 20 - soft)
    if value < floor and os.geteuid() != 0:
        raise Refused(
            f"only root may make workers less nice than procq, which runs at {own}",
            f"at least {floor}, or start as root",
        )


def check_limit(name: str, written: str, limit: Limit) -> None:
    """Raises Refused for a limit in the wrong unit, or beyond what procq or the system allows."""
    if name not in BYTE_LIMITS and re.search(r"\dk?[KMGT]?i?B", written):
        raise Refused(f"{name} does not count bytes", "write a whole number")
    number = getattr(resource, f"RLIMIT_{name.upper()}")
    own = resource.getrlimit(number)[1]
    if os.geteuid() != 0 and own != resource.RLIM_INFINITY and (limit.hard is None or limit.hard > own):
        raise Refused(f"only root may raise the hard limit of {name}, which is {own} for procq", f"at most {own}")
    most = _open_files() if name == "nofile" else None
    if most is not None and (limit.hard is None or limit.hard > most):
        raise Refused(f"this system allows no process more than {most} open files", f"at most {most}")


def _open_files() -> int | None:
    try:
        with open("/proc/sys/fs/nr_open") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
