"""Control groups as systems give them: with controllers and without, delegated and not, read-only. FAULTS 58, 60."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.support import Service, run, until

pytestmark = pytest.mark.vm

MANIFEST = "queues:\n  a:\n    command: sleep 1000\n    workers: 2\n"
# A user's own manager starts what runs below it: the user has to linger, and to be told where it is reached.
OPS = "runuser -u ops -- env XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus"
UNSHARED = "unshare --mount sh -c 'mount -o remount,ro,bind /sys/fs/cgroup; exec \"$@\"' -"
CGROUPNS = (
    "unshare --cgroup --mount sh -c "
    "'umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"' -"
)
Starts = Callable[..., "Started"]


class Started:
    """A procq that somebody has started through another command."""

    def __init__(self, folder: Path, how: str) -> None:
        self._folder, self._how = folder, how
        (folder / "procq.yaml").write_text(MANIFEST)

    def procq(self, *words: str, code: int | None = 0) -> str:
        return run(*shlex.split(self._how), "procq", *words, code=code, cwd=self._folder)

    def tier(self) -> int:
        status: dict[str, Any] = json.loads(self.procq("status", "--json"))
        return int(status["tier"])

    def groups(self) -> set[str]:
        status: dict[str, Any] = json.loads(self.procq("status", "--json", "*"))
        return {Path(f"/proc/{worker['pid']}/cgroup").read_text().strip() for worker in status["workers"]}


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Starts]:
    made: list[Started] = []

    def start(how: str, *, by: str = "root") -> Started:
        folder = Path(f"/home/{by}" if by != "root" else "/root") / tmp_path.name
        folder.mkdir()
        run("chown", f"{by}:", str(folder))
        made.append(Started(folder, how))
        return made[-1]

    yield start
    for each in made:
        each.procq("down", code=None)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    made: list[Service] = []

    def make(manifest: str) -> Service:
        made.append(Service(tmp_path, f"trial-{tmp_path.name}", manifest))
        made[-1].systemctl("start")
        return made[-1]

    yield make
    for each in made:
        each.remove()


DELEGATED = "systemd-run --quiet --scope -p Delegate=yes"


@pytest.mark.parametrize(
    ("how", "by"),
    [
        pytest.param(DELEGATED, "root", id="scope"),
        pytest.param(f"{OPS} systemd-run --quiet --user --scope -p Delegate=yes", "ops", id="user scope"),
        pytest.param(f"{DELEGATED} {CGROUPNS}", "root", id="namespace"),
    ],
)
def test_faults_60_each_worker_has_a_group_where_groups_may_be_made(starts: Starts, how: str, by: str) -> None:
    started = starts(how, by=by)
    started.procq("up", "-d")
    assert started.tier() == 2, started.procq("doctor", code=None)
    assert len(started.groups()) == 2


@pytest.mark.parametrize(
    ("how", "by", "why"),
    [
        pytest.param("systemd-run --quiet --scope", "root", "Delegate=yes", id="not delegated"),
        pytest.param(f"{DELEGATED} {UNSHARED}", "root", "writable-cgroups", id="read-only"),
        pytest.param(OPS, "ops", "systemd-run --user --scope -p Delegate=yes", id="somebody else's"),
    ],
)
def test_faults_60_workers_run_all_the_same_where_none_may_be_made(starts: Starts, how: str, by: str, why: str) -> None:
    started = starts(how, by=by)
    started.procq("up", "-d")
    assert started.tier() == 1
    assert len(started.groups()) == 1
    assert why in started.procq("doctor", code=None)


def test_a_tier_that_was_asked_for_and_cannot_be_had_is_an_error(starts: Starts) -> None:
    started = starts(f"{DELEGATED} {UNSHARED}")
    said = started.procq("up", "-d", "--tier", "2", code=None)
    assert "tier T2 cannot be had" in said, said
    assert "not running" in started.procq("status", code=None)


def test_without_root_everything_can_be_in_a_namespace(starts: Starts) -> None:
    started = starts(f"{OPS} systemd-run --quiet --user --scope -p Delegate=yes", by="ops")
    started.procq("up", "-d", "--tier", "3")
    assert started.tier() == 3
    workers = json.loads(started.procq("status", "--json", "*"))["workers"]
    assert [worker["state"] for worker in workers] == ["running"] * 2


EAT = f"{sys.executable} -c 'x = bytearray(400 << 20); import time; time.sleep(1000)'"


def test_faults_58_a_child_that_is_out_of_memory_takes_its_worker_with_it(
    service: Callable[[str], Service], tmp_path: Path
) -> None:
    """Faster than anybody looks: the limit of the group, a quarter above that of the manifest, is what holds."""
    go = tmp_path / "go"
    made = service(f"""\
queues:
  eater:
    command: "sleep 1000 & while [ ! -e {go} ]; do sleep 0.1; done; {EAT}; sleep 1000"
    shell: yes
    limits:
      memory: 200MB
  neighbour: sleep 1000
""")
    neighbour, eater = (next(w for w in made.workers() if w["queue"] == name) for name in ("neighbour", "eater"))
    group = Path("/sys/fs/cgroup" + Path(f"/proc/{eater['pid']}/cgroup").read_text().strip().removeprefix("0::"))
    assert int((group / "memory.max").read_text()) == 250_000_000 // 4096 * 4096
    before = [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    assert len(before) > 1
    go.touch()
    said = until(lambda: [line for line in events(made) if "eater.1" in line and "memory" in line], "its end")
    assert "out of memory" in said[0], said
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)
    assert next(w["pid"] for w in made.workers() if w["queue"] == "neighbour") == neighbour["pid"]


def test_a_worker_gets_no_more_processes_than_it_may_have(service: Callable[[str], Service], tmp_path: Path) -> None:
    counted = tmp_path / "counted"
    code = f"""\
import os, time
n = 0
try:
    for n in range(100):
        if not os.fork():
            time.sleep(1000)
except BlockingIOError:
    open({str(counted)!r}, "w").write(str(n))
time.sleep(1000)
"""
    (tmp_path / "forks.py").write_text(code)
    service(f"queues:\n  a:\n    command: {sys.executable} {tmp_path / 'forks.py'}\n    limits:\n      pids: 10\n")
    until(lambda: counted.exists() and counted.read_text(), "a fork to fail")
    assert counted.read_text() == "9"


def events(of: Service) -> list[str]:
    return of.procq("events").splitlines()
