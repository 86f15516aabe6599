"""What a worker finds itself in: FAULTS 18, 19, 21, 22, 23, 24, 25, 30, 32."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Keepers
from tests.process.support.keeper import Keeper, program, read_when_written
from tests.process.support.waiting import until

pytestmark = pytest.mark.process


def look(keeper: Keeper, tmp_path: Path, worker: str = "w.1", **spawn: Any) -> dict[str, Any]:
    file = tmp_path / f"found-{worker}"
    keeper.spawn(program("surroundings.py", file), worker, **spawn)
    found: dict[str, Any] = json.loads(read_when_written(file))
    return found


def test_faults_21_25_exactly_four_descriptors(keeper: Keeper, tmp_path: Path) -> None:
    for n in range(20):
        keeper.run(["sleep", "1000"], f"other.{n}")
    found = look(keeper, tmp_path)["descriptors"]
    assert found.pop("0") == "/dev/null"
    assert found.pop("3").startswith("socket:"), "PROCQ_NOTIFY_FD"
    assert sorted(found) == ["1", "2"]
    assert all(target.startswith("pipe:") for target in found.values())
    assert found["1"] != found["2"]


def test_faults_21_descriptors_that_procq_was_started_with_do_not_reach_workers(
    keepers: Keepers, tmp_path: Path
) -> None:
    with open(tmp_path / "secret", "w") as leaked:
        os.set_inheritable(leaked.fileno(), True)
        found = look(keepers(), tmp_path)
    assert sorted(found["descriptors"]) == ["0", "1", "2", "3"]


@contextmanager
def peculiar_parent() -> Iterator[None]:
    """This process as nohup, a debugger or a careless program would have left it."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1)
    former = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in former.items():
            signal.signal(number, handler)


def test_faults_19_no_signal_is_blocked_or_ignored(keepers: Keepers, tmp_path: Path) -> None:
    with peculiar_parent():
        keeper = keepers()
    ignored_by_python = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    masks = look(keeper, tmp_path)["masks"]
    assert masks["SigBlk"] == 0
    assert masks["SigIgn"] & ~ignored_by_python == 0, "Python itself ignores two"
    shell = tmp_path / "shell"
    keeper.spawn(["/bin/sh", "-c", f"grep SigIgn /proc/self/status > {shell}.draft; mv {shell}.draft {shell}"], "sh.1")
    assert int(read_when_written(shell).split()[1], 16) == 0


def test_faults_30_limits_umask_and_directory(keepers: Keepers, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 17, hard))
    former = os.umask(0o027)
    try:
        keeper = keepers()
    finally:
        os.umask(former)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = look(keeper, tmp_path)
    assert found["nofile"] == [soft - 17, hard], "as procq found it, not as it raised its own"
    assert found["umask"] == 0o027
    assert found["directory"] == os.getcwd()
    chosen = look(keeper, tmp_path, "w.2", umask=0o077, directory=tmp_path)
    assert (chosen["umask"], chosen["directory"]) == (0o077, str(tmp_path))


def test_faults_26_a_session_and_a_group_of_its_own(keeper: Keeper, tmp_path: Path) -> None:
    found = look(keeper, tmp_path)
    assert found["session"] == found["group"] == found["pid"]


def test_the_environment_is_what_was_asked_for_and_nothing_else(keeper: Keeper, tmp_path: Path) -> None:
    found = look(keeper, tmp_path, env={"EMPTY": "", "EQUALS": "a=b", "UMLAUT": "ü"})["environment"]
    assert (found["EMPTY"], found["EQUALS"], found["UMLAUT"]) == ("", "a=b", "ü")
    asked = {"PATH", "EMPTY", "EQUALS", "UMLAUT", "PROCQ_INSTANCE", "PROCQ_GENERATION", processes.COOKIE}
    assert set(found) - {"LC_CTYPE"} == asked | {"NOTIFY_SOCKET", "PROCQ_NOTIFY_FD"}


def executable(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


FAILURES = ["missing", "interpreter", "mode", "directory", "format", "loop", "notdir", "path", "workdir", "toolarge"]


def faulty(kind: str, tmp_path: Path) -> tuple[dict[str, Any], tuple[str, str]]:
    """A spawn that must fail, and the stage and error it fails with."""
    script = executable(tmp_path / "script", "#!/nonexistent/interpreter\n")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    here = ["/bin/true"]
    kinds: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
        "missing": ({"argv": [str(tmp_path / "none")]}, ("exec", "ENOENT")),
        "interpreter": ({"argv": [str(script)]}, ("interpreter", "ENOENT")),
        "mode": ({"argv": [str(executable(tmp_path / "plain", "x", 0o644))]}, ("exec", "EACCES")),
        "directory": ({"argv": [str(tmp_path)]}, ("exec", "EACCES")),
        "format": ({"argv": [str(executable(tmp_path / "data", "\0\1\2"))]}, ("exec", "ENOEXEC")),
        "loop": ({"argv": [str(loop)]}, ("exec", "ELOOP")),
        "notdir": ({"argv": [str(script / "below")]}, ("exec", "ENOTDIR")),
        "path": ({"argv": ["no-such-program"], "env": {"PATH": "/bin:/usr/bin"}}, ("exec", "ENOENT")),
        "workdir": ({"argv": here, "directory": tmp_path / "nowhere"}, ("directory", "ENOENT")),
        "toolarge": ({"argv": ["/bin/true", "x" * 200_000]}, ("exec", "E2BIG")),
    }
    return kinds[kind]


@pytest.mark.parametrize("kind", FAILURES)
def test_faults_23_a_failure_has_its_stage_and_number(keeper: Keeper, tmp_path: Path, kind: str) -> None:
    spawn, (stage, name) = faulty(kind, tmp_path)
    generation = keeper.spawn(spawn.pop("argv"), **spawn)
    failure = keeper.of(generation, "spawn_failed")["failure"]
    assert (failure["stage"], errno.errorcode[failure["errno"]]) == (stage, name)
    assert not failure["transient"]
    keeper.of(generation, "gone")
    assert "exited" not in keeper.kinds(generation), "it never ran"
    assert "executing" not in keeper.kinds(generation)


def test_faults_32_the_command_is_found_in_the_worker_s_own_path(keeper: Keeper, tmp_path: Path) -> None:
    executable(tmp_path / "mine", "#!/bin/sh\nexit 9\n")
    absolute = keeper.spawn(["mine"], "w.1", env={"PATH": str(tmp_path)})
    relative = keeper.spawn(["mine"], "w.2", env={"PATH": "."}, directory=tmp_path)
    assert keeper.of(absolute, "exited")["status"]["code"] == 9
    assert keeper.of(relative, "exited")["status"]["code"] == 9


def test_faults_24_a_lack_of_descriptors_is_transient_and_recovers(keeper: Keeper) -> None:
    running = [keeper.run(["sleep", "1000"], f"w.{n}")[0] for n in range(5)]
    limits = resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE)
    used = sum(processes.descriptors(keeper.pid).values())
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (used + 2, limits[1]))
    failed = [keeper.spawn(["sleep", "1000"], f"more.{n}") for n in range(10)]
    for event in keeper.all_of(failed, "spawn_failed").values():
        assert event["failure"]["transient"], event
    keeper.all_of(failed, "gone")
    assert sum(processes.descriptors(keeper.pid).values()) == used, "both ends of every pipe are closed"
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, limits)
    keeper.run(["sleep", "1000"], "more.1")
    assert all(keeper.kinds(generation) == ["executing"] for generation in running)


def test_faults_22_a_program_that_is_just_being_written_is_waited_for(keeper: Keeper, tmp_path: Path) -> None:
    program_file = tmp_path / "deployed"
    program_file.write_bytes(Path("/bin/true").resolve().read_bytes())
    program_file.chmod(0o755 | stat.S_IXUSR)
    with open(program_file, "ab"):
        generation = keeper.spawn([str(program_file)])
        until(lambda: len(processes.children(keeper.pid)) == 1, "the child to try")
    assert keeper.of(generation, "exited")["status"]["code"] == 0


def test_faults_18_the_owner_may_have_many_busy_threads(keeper: Keeper) -> None:
    """No fork happens in the process that has the threads: the keeper has two, and the owner as many as it likes."""
    enough = threading.Event()

    def churn() -> None:
        while not enough.is_set():
            json.loads(json.dumps({str(n): [n] for n in range(100)}))

    threads = [threading.Thread(target=churn) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        some = [keeper.spawn(["/bin/true"], f"w.{n}") for n in range(300)]
        keeper.all_of(some, "gone")
    finally:
        enough.set()
        for thread in threads:
            thread.join()
