"""That the machine is what the other trials take it for."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm


def test_cgroup_v2_and_nothing_else() -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    assert [fields[1] for fields in mounts if fields[2].startswith("cgroup")] == ["/sys/fs/cgroup"]
    assert {"memory", "pids", "cpu"} <= set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())


def test_systemd_is_the_first_process() -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    assert os.getuid() == 0


def test_the_kernel_is_another_one_than_the_newest() -> None:
    """6.1 knows neither PIDFD_SIGNAL_PROCESS_GROUP nor SO_PASSPIDFD: the fallbacks are what runs here."""
    assert tuple(map(int, platform.release().split(".")[:2])) >= (6, 1)


def test_procq_is_the_wheel() -> None:
    said = subprocess.run(["procq", "doctor"], capture_output=True, text=True, check=False).stdout
    # The trials' own service is not delegated to anybody.
    assert "T2 cannot be had" in said and "/opt/venv/" in said
