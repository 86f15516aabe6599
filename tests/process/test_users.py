"""Workers that run as another user: FAULTS 14, 30, 31. Most of these need root, and say so where they are skipped."""

from __future__ import annotations

import errno
import json
import os
import pwd
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import procq
from tests.process.support import cgroups, processes
from tests.process.support.fixtures import Keepers, Procqs
from tests.process.support.keeper import Keeper, read_when_written
from tests.process.support.oracle import Oracle
from tests.process.support.users import GID, GROUPS, SOMEBODY, UID, folder_for_all, needs_root, program, python
from tests.process.support.waiting import within

pytestmark = pytest.mark.process


@pytest.fixture
def folder() -> Iterator[Path]:
    if os.geteuid() == 0 and python() is None:
        pytest.skip(f"other users may neither run {sys.executable} nor /usr/bin/python3")
    yield from folder_for_all()


def look(keeper: Keeper, folder: Path, worker: str = "w.1", **spawn: Any) -> dict[str, Any]:
    file = folder / f"found-{worker}"
    generation = keeper.spawn(program(folder, "surroundings.py", file), worker, **spawn)
    exited = keeper.wait(lambda e: e["t"] in ("exited", "spawn_failed") and e["generation"] == generation, "its look")
    assert exited.get("status", {}).get("code") == 0, exited
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def own_identity() -> dict[str, Any]:
    return {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups()}


@needs_root
def test_faults_31_a_worker_is_that_user_and_nobody_else(keeper: Keeper, folder: Path) -> None:
    found = look(keeper, folder, user=SOMEBODY)
    assert found["identity"] == [[UID] * 3, [GID] * 3, sorted(GROUPS)]
    assert found["capabilities"] == {"CapInh": 0, "CapPrm": 0, "CapEff": 0}
    assert found["regained"] == [False] * 6
    assert found["session"] == found["group"] == found["pid"]
    assert sorted(found["descriptors"]) == ["0", "1", "2", "3"]


@needs_root
def test_faults_31_without_groups_it_has_none_of_ours(keeper: Keeper, folder: Path) -> None:
    found = look(keeper, folder, user={"uid": UID, "gid": GID, "groups": []})
    assert found["identity"] == [[UID] * 3, [GID] * 3, []]


@needs_root
def test_faults_31_the_same_user_with_another_group(keeper: Keeper, folder: Path) -> None:
    found = look(keeper, folder, user={"uid": 0, "gid": GID, "groups": list(GROUPS)})
    assert found["identity"] == [[0] * 3, [GID] * 3, sorted(GROUPS)]


@needs_root
def test_faults_31_no_user_is_the_number_that_means_no_change(keeper: Keeper) -> None:
    nobody = {"uid": 0xFFFFFFFF, "gid": GID, "groups": []}
    failure = keeper.of(keeper.spawn(["/bin/true"], user=nobody), "spawn_failed")["failure"]
    assert (failure["stage"], failure["path"]) == ("user", b"4294967295")


def test_who_names_himself_needs_no_rights(keeper: Keeper, folder: Path) -> None:
    own = own_identity()
    found = look(keeper, folder, user=own)
    assert found["identity"] == [[own["uid"]] * 3, [own["gid"]] * 3, sorted(own["groups"])]


ORDINARY = """\
import os, sys
from pathlib import Path
from tests.process.support.keeper import Keeper
from tests.process.support.oracle import Oracle
oracle = Oracle()
oracle.cookie = sys.argv[1]
os.setgroups([54323]); os.setresgid(54322, 54322, 54322); os.setresuid(54321, 54321, 54321)
keeper = Keeper(oracle, Path("/"))
me = {"uid": 54321, "gid": 54322, "groups": [54323]}
own = keeper.spawn(["/bin/sh", "-c", "exit $(id -u | cut -c1)"], "own.1", user=me)
print(keeper.of(own, "exited")["status"]["code"])
for worker, user in {"g.1": {**me, "groups": []}, "u.1": {"uid": 0, "gid": 0, "groups": []}}.items():
    failure = keeper.of(keeper.spawn(["/bin/true"], worker, user=user), "spawn_failed")["failure"]
    print(failure["stage"], failure["errno"], failure["path"].decode() or "-")
failure = keeper.of(keeper.spawn(["/bin/true"], "n.1", nice=-5), "spawn_failed")["failure"]
print(failure["stage"], failure["errno"])
raised = [{"resource": 7, "soft": 2**62, "hard": 2**62}]
failure = keeper.of(keeper.spawn(["/bin/true"], "l.1", limits=raised), "spawn_failed")["failure"]
print(failure["stage"], failure["errno"], failure["path"].decode())
keeper.close()
"""


@needs_root
def test_an_ordinary_user_may_name_himself_and_nobody_else(oracle: Oracle, folder: Path) -> None:
    """The keeper of somebody who is not root."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [python() or sys.executable, "-c", ORDINARY, oracle.cookie],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{Path(procq.__file__).parents[1]}"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout.splitlines()[:5] == [
        "5",
        f"groups {errno.EPERM} {UID}",
        f"user {errno.EPERM} -",
        f"nice {errno.EACCES}",
        f"limits {errno.EPERM} nofile",
    ], done.stderr


@needs_root
def test_faults_30_niceness_is_lowered_before_rights_are_given_up(keeper: Keeper, folder: Path) -> None:
    limits = [{"resource": resource.RLIMIT_STACK, "soft": 1 << 22, "hard": 1 << 23}]
    found = look(keeper, folder, user=SOMEBODY, limits=limits, nice=-7, umask=0o027)
    assert found["limits"]["RLIMIT_STACK"] == [1 << 22, 1 << 23]
    assert (found["nice"], found["umask"]) == (-7, 0o027)
    assert found["identity"][0] == [UID] * 3


def may_raise_limits() -> bool:
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) & 1 << 24)


@needs_root
@pytest.mark.skipif(not may_raise_limits(), reason="root has no CAP_SYS_RESOURCE here")
def test_faults_30_hard_limits_are_raised_before_rights_are_given_up(keeper: Keeper, folder: Path) -> None:
    resource.prlimit(keeper.pid, resource.RLIMIT_SIGPENDING, (1000, 1000))
    limits = [{"resource": resource.RLIMIT_SIGPENDING, "soft": 1001, "hard": 1002}]
    found = look(keeper, folder, user=SOMEBODY, limits=limits)
    assert found["limits"]["RLIMIT_SIGPENDING"] == [1001, 1002]
    assert found["identity"][0] == [UID] * 3
    assert resource.prlimit(keeper.pid, resource.RLIMIT_SIGPENDING) == (1000, 1000), "the keeper's are untouched"


def test_faults_30_limits_and_niceness(keeper: Keeper, folder: Path) -> None:
    limits = [{"resource": resource.RLIMIT_NOFILE, "soft": 99, "hard": 100}]
    found = look(keeper, folder, limits=limits, nice=os.nice(0) + 3)
    assert (found["limits"]["RLIMIT_NOFILE"], found["nice"]) == ([99, 100], os.nice(0) + 3)
    assert look(keeper, folder, "w.2")["nice"] == os.nice(0)


def test_faults_23_a_limit_that_cannot_be_is_named(keeper: Keeper) -> None:
    limits = [
        {"resource": resource.RLIMIT_CORE, "soft": 0, "hard": 0},
        {"resource": resource.RLIMIT_NPROC, "soft": 2, "hard": 1},
    ]
    failure = keeper.of(keeper.spawn(["/bin/true"], limits=limits), "spawn_failed")["failure"]
    assert (failure["stage"], failure["errno"], failure["path"]) == ("limits", errno.EINVAL, b"nproc")


def test_the_limit_that_is_our_mark_is_refused(keeper: Keeper) -> None:
    rlimit_locks = 10
    limits = [{"resource": rlimit_locks, "soft": 1, "hard": 1}]
    assert "marks" in keeper.of(keeper.spawn(["/bin/true"], limits=limits), "refused")["why"]


@needs_root
def test_the_directory_is_entered_with_the_worker_s_own_rights(keeper: Keeper, folder: Path) -> None:
    private = folder / "private"
    private.mkdir(0o700)
    generation = keeper.spawn(["/bin/true"], "w.1", user=SOMEBODY, directory=private)
    failure = keeper.of(generation, "spawn_failed")["failure"]
    assert (failure["stage"], errno.errorcode[failure["errno"]]) == ("directory", "EACCES")
    os.chown(private, UID, GID)
    assert look(keeper, folder, "w.2", user=SOMEBODY, directory=private)["directory"] == str(private)


@needs_root
def test_faults_32_the_command_is_looked_up_with_the_worker_s_own_rights(keeper: Keeper, folder: Path) -> None:
    private, public = folder / "private", folder / "public"
    for place, mode, code in ((private, 0o700, 1), (public, 0o755, 2)):
        place.mkdir(mode)
        (place / "mine").write_text(f"#!/bin/sh\nexit {code}\n")
        (place / "mine").chmod(0o755)
    path = {"PATH": f"{private}:{public}"}
    assert keeper.of(keeper.spawn(["mine"], "root.1", env=path), "exited")["status"]["code"] == 1
    assert keeper.of(keeper.spawn(["mine"], "user.1", env=path, user=SOMEBODY), "exited")["status"]["code"] == 2
    only = keeper.spawn(["mine"], "only.1", env={"PATH": str(private)}, user=SOMEBODY)
    failure = keeper.of(only, "spawn_failed")["failure"]
    assert (failure["stage"], errno.errorcode[failure["errno"]]) == ("exec", "EACCES")


@needs_root
def test_another_user_s_worker_is_stopped_with_all_it_started(keeper: Keeper, folder: Path) -> None:
    inner = program(folder, "stubborn.py", folder / "inner")
    generation, pid = keeper.run(program(folder, "stubborn.py", folder / "outer", *inner), user=SOMEBODY, grace=0.1)
    child = int(read_when_written(folder / "inner"))
    read_when_written(folder / "outer")
    assert processes.instance(child) == keeper.instance, "the mark outlives the change of user"
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 2
    assert not processes.exists(pid)
    assert not processes.exists(child)


@needs_root
def test_a_daemon_of_another_user_is_charged_to_its_worker(keeper: Keeper, folder: Path) -> None:
    daemon = program(folder, "daemon.py", folder / "daemon", "--ignore-term", "--clear-env")
    generation = keeper.spawn(daemon, user=SOMEBODY, grace=0.1)
    pid = int(read_when_written(folder / "daemon"))
    keeper.stop(generation)
    keeper.of(generation, "gone")
    assert not processes.exists(pid)


@needs_root
@pytest.mark.parametrize("both", [False, True])
def test_faults_14_the_death_signal_outlives_the_change_of_user(keeper: Keeper, folder: Path, both: bool) -> None:
    pids = []
    for n in range(5):
        keeper.spawn(program(folder, "stubborn.py", folder / f"pid{n}"), f"w.{n}", user=SOMEBODY)
        pids.append(int(read_when_written(folder / f"pid{n}")))
    if both:
        keeper.sentinel.kill()
    os.kill(keeper.pid, signal.SIGKILL)
    within(1.0, lambda: not any(map(processes.exists, pids)), "the end of everybody after the keeper")
    keeper.sentinel.wait()
    if both:
        cgroups.remove_of(keeper.instance)


@needs_root
def test_faults_14_a_keeper_that_dies_while_its_children_change_user_leaves_nothing(
    keepers: Keepers, oracle: Oracle
) -> None:
    for trial in range(10):
        keeper = keepers()
        for n in range(20):
            keeper.spawn(["sleep", "1000"], f"w.{n}", user=SOMEBODY)
        keeper.pump(0.001 * (trial % 5))
        os.kill(keeper.pid, signal.SIGKILL)
        within(1.0, lambda: not oracle.alive(), "the end of everybody after the keeper")


@needs_root
def test_the_keeper_keeps_its_own_rights_and_stays_readable(keeper: Keeper) -> None:
    """A change of user in a child that shared our memory would have made the keeper one that dumps no core."""
    for n in range(20):
        keeper.spawn(["/bin/true"], f"w.{n}", user=SOMEBODY)
    keeper.all_of(range(1, 21), "gone")
    status = Path(f"/proc/{keeper.pid}/status").read_text()
    assert "Uid:\t0\t0\t0\t0" in status
    assert Path(f"/proc/{keeper.pid}/coredump_filter").exists()


@needs_root
def test_a_manifest_s_user_reaches_the_worker_with_home_and_name(procqs: Procqs, folder: Path) -> None:
    file = folder / "env"
    script = f"echo $(id -u) $USER $LOGNAME $HOME $SHELL > {file}.draft; mv {file}.draft {file}; exec sleep 1000"
    shop = procqs(f"""\
queues:
  w:
    command: {script}
    shell: yes
    directory: /
    user: nobody
    env:
      HOME: /elsewhere
""")
    shop.start(1)
    nobody = pwd.getpwnam("nobody")
    found = read_when_written(file, f"the worker; procq said {shop.said()}").split()
    assert found == [str(nobody.pw_uid), "nobody", "nobody", "/elsewhere", nobody.pw_shell]
