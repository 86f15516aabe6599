"""Which tiers of containment (docs/guarantees.md) this machine has, and what is missing for the next one."""

from __future__ import annotations

import os
from pathlib import Path

from procq import core

SCOPE = "systemd-run --user --scope -p Delegate=yes procq up"
_CAP_SYS_ADMIN = 1 << 21

_REMEDIES = {
    "absent": "Boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or mount it: "
    "mount -t cgroup2 none /sys/fs/cgroup",
    "out_of_reach": "In a container: give it a cgroup namespace and its own mount of cgroup2 "
    "(docker run --cgroupns=private).",
    "read_only": "In a container: mount it for writing "
    "(docker run --security-opt writable-cgroups=true; podman run --security-opt unmask=/sys/fs/cgroup).",
    "not_ours": f"Run it in a group of yours: {SCOPE}",
    "not_delegated": f"Have it delegated: {SCOPE}. A service needs Delegate=yes in its unit.",
}

# What keeps users from namespaces where it is not as wanted, zero or anything else.
_SETTINGS = (
    ("/proc/sys/user/max_user_namespaces", True, "sysctl user.max_user_namespaces=10000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", True, "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        False,
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


def remedy(lack: str, *, root: bool) -> str:
    """What to do where no control group can be made for this reason, with the command that fits who asks."""
    text = _REMEDIES.get(lack, "")
    return text.replace("systemd-run --user --scope", "systemd-run --scope") if root else text


def controllers_missing(found: core.Containment) -> list[str]:
    """Controllers without which the kernel backs no limit of `limits:`."""
    return [name for name in ("memory", "pids") if name not in found.controllers]


def namespace_lack() -> tuple[str, str] | None:
    """What keeps T3 from being had, and what to do about it; None where nothing does. Changes nothing."""
    if _capabilities() & _CAP_SYS_ADMIN:
        return None
    for path, wanted, command in _SETTINGS:
        value = _number(path)
        if value is not None and bool(value) != wanted:
            what = f"user namespaces are not allowed to you ({os.path.basename(path)} is {value})"
            return what, f"As root: {command}"
    return None


def _capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
