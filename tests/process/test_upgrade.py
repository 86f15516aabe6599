"""`procq upgrade`: another version takes over, and no worker notices."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from procq.client import Gap, Output
from procq.errors import ExitCode
from tests.process.support import processes, writers
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import program
from tests.process.support.project import Procq
from tests.process.support.trials import CI, SEED
from tests.process.support.versions import Version
from tests.process.support.waiting import until

Versions = tuple[Version, Version]

MIXED = """\
queues:
  plain:
    command: sleep 1000
    workers: 3
  terminal:
    command: sleep 1000
    tty: yes
"""
WRITERS = 2


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Two that work."""
    folder = tmp_path_factory.mktemp("versions")
    return Version(folder, "7.0.0"), Version(folder, "7.0.1")


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_faults_13_the_keeper_becomes_another_version_and_no_worker_is_restarted(
    procqs: Procqs, versions: Versions
) -> None:
    procq = procqs(MIXED).start(4)
    before, info = procq.workers(), procq.info()
    for version in (*versions, *versions):
        former = procq.info().release
        told = version.take_over(procq)
        assert (told["from"], told["workers"]) == (former, 4)
        after = procq.info()
        assert (after.pid, after.sentinel, after.release) == (info.pid, info.sentinel, version.name)
        assert str(version.python) in command_line(procq.control_plane())
        assert procq.workers() == before
    # It is a keeper as any other: it spawns, reaps and stops.
    procq.command("scale", "plain=5")
    assert before.items() <= procq.wait_running(6).items()
    os.kill(before["plain.1"].pid, signal.SIGKILL)
    until(lambda: procq.queue("plain").restarts == 1, "the end to be seen")
    procq.wait_running(6)
    procq.command("restart", "terminal")
    procq.command("down")


def test_what_workers_say_is_heard_by_the_version_that_takes_over(
    procqs: Procqs, versions: Versions, tmp_path: Path
) -> None:
    """Their sockets, reports and watchdogs are handed on; who closes what they pass is in nobody's way."""
    silent = tmp_path / "silent"
    command = shlex.join(program("talker.py", silent))
    procq = procqs(f"queues:\n  w:\n    command: {command}\n    ready: notify\n    watchdog: 3s\n").start(1)

    def more_jobs() -> None:
        done = procq.client.workers(["w"])[0].jobs or 0
        until(lambda: (procq.client.workers(["w"])[0].jobs or 0) > done, "more jobs")

    more_jobs()
    before = procq.workers()
    for version in versions:
        version.take_over(procq)
        more_jobs()
    assert procq.workers() == before
    silent.touch()
    until(lambda: procq.queue("w").restarts == 1, "the watchdog's end")


@pytest.mark.timeout(600)
def test_faults_39_no_line_is_lost_or_doubled_by_upgrades_under_load(procqs: Procqs, versions: Versions) -> None:
    prove_that_upgrades_lose_nothing(procqs, versions, CI.upgrades)


def prove_that_upgrades_lose_nothing(procqs: Procqs, versions: Versions, trials: int) -> None:
    """Numbered lines into files, as fast as can be, and to a follower; now and then the control plane is killed."""
    fast = writers.manifest(WRITERS, pause=0)
    slow = writers.manifest(1).replace("queues:\n  w:", "  slow:").replace("w-", "slow-")
    procq = procqs(fast + slow).start(WRITERS + 1)
    before, random = procq.workers(), Random(SEED)
    follower = Follower(procq, "slow.1")
    for trial in range(trials):
        control = procq.info().control_plane
        if random.random() < 0.3 and control is not None:
            os.kill(control, signal.SIGKILL)
        versions[trial % 2].take_over(procq)
    assert procq.workers() == before
    procq.command("stop", "w", "slow")
    follower.wait_for(b"end\n")
    procq.command("down")
    written = writers.read_files([*procq.folder.glob("w-*.log"), *procq.folder.glob("slow-*.log")])
    assert len(written) == WRITERS + 1
    assert all(each.ended and each.lines > 100 for each in written.values()), written
    (slowly,) = (each.lines for (worker, _), each in written.items() if worker == "slow.1")
    follower.saw_every_line(slowly)


class Follower:
    """`procq logs -f` of one worker, in a thread."""

    def __init__(self, procq: Procq, worker: str) -> None:
        self._data = b""
        self._gaps = 0
        self._thread = threading.Thread(target=self._follow, args=(procq, worker), daemon=True)
        self._thread.start()
        until(lambda: self._data, "a first line")

    def _follow(self, procq: Procq, worker: str) -> None:
        for piece in procq.client.logs([worker], tail=1, follow=True):
            match piece:
                case Output(data=data):
                    self._data += data
                case Gap():
                    self._gaps += 1

    def wait_for(self, end: bytes) -> None:
        until(lambda: self._data.endswith(end), lambda: f"{end!r}, and not {self._data[-50:]!r}")

    def saw_every_line(self, last: int) -> None:
        """From where it began, in one conversation, to the last one."""
        numbers = [line.split()[1] for line in self._data.splitlines()]
        seen = [int(number) for number in numbers[:-1]]
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert self._gaps == 0
        assert seen[-1] == last - 1


def test_a_stop_in_flight_keeps_its_deadline(procqs: Procqs, versions: Versions) -> None:
    stubborn = " ".join(program("stubborn.py", "born"))
    procq = procqs(f"queues:\n  s:\n    command: {stubborn}\n    stop:\n      grace: 8s\n").start(1)
    until((procq.folder / "born").exists, "its deaf ear")
    worker = procq.workers()["s.1"]
    stopping = threading.Thread(target=lambda: procq.command("stop", "s"), daemon=True)
    stopping.start()
    until(lambda: procq.queue("s").state == "stopping" or procq.status().workers[0].state == "stopping", "the stop")
    began = procq.status().workers[0]
    versions[0].take_over(procq)
    assert processes.stat(worker.pid) == worker, "it has eight seconds"
    until(lambda: processes.stat(worker.pid) is None, "its end at the deadline", 15)
    until(lambda: procq.status().workers[0].last_exit == "SIGKILL", f"the exit; before it was {began}")
    stopping.join(20)


def test_exits_during_an_upgrade_are_told_with_their_status(procqs: Procqs, versions: Versions) -> None:
    """Workers end at every moment of it: each is replaced once, and its status is right."""
    procq = procqs("""\
queues:
  e:
    command: exec sh -c 'read line < gate; sleep 0.$PROCQ_SLOT; exit $PROCQ_SLOT'
    shell: yes
    workers: 9
    restart:
      policy: never
""")
    os.mkfifo(procq.folder / "gate")
    procq.start(9)
    gate = os.open(procq.folder / "gate", os.O_WRONLY)
    upgrade = threading.Thread(target=versions[1].take_over, args=(procq,))
    upgrade.start()
    os.write(gate, b"go\n" * 9)
    os.close(gate)
    upgrade.join()
    assert procq.info().release == versions[1].name

    def told() -> dict[str, str | None]:
        return {each.id: each.last_exit for each in procq.status().workers}

    wanted = {f"e.{slot}": f"exit code {slot}" for slot in range(1, 10)}
    until(lambda: told() == wanted, lambda: f"all exits; told were {told()}")


def _without_extension(version: Version) -> None:
    version.change("core.py", "_LOADER, _core.__file__]", '_LOADER, f"{_core.__file__}.gone"]')


def _garbage_for_extension(version: Version) -> None:
    _without_extension(version)
    version.extension.with_name(f"{version.extension.name}.gone").write_bytes(b"no library\n")


def _no_control_plane(version: Version) -> None:
    version.change("daemon/plane.py", "class ControlPlane", "raise RuntimeError('planted')\nclass ControlPlane")


def _fails_to_resume(version: Version) -> None:
    version.change("core.py", "    core.resume(", "    assert what != 'resume', 'planted'\n    core.resume(")


def _hangs_up_on_its_state(version: Version) -> None:
    version.change(
        "core.py", "    core.resume(", "    rest[0] = '0' if what == 'resume' else rest[0]\n    core.resume("
    )


BROKEN: dict[str, tuple[Callable[[Version], None], str]] = {
    "without its extension": (_without_extension, "No such file"),
    "with garbage for its extension": (_garbage_for_extension, "file too short"),
    "without a control plane that works": (_no_control_plane, "planted"),
    "that fails when it is to resume": (_fails_to_resume, "planted"),
    "that does not find its state": (_hangs_up_on_its_state, "damaged"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_upgrade_to_a_broken_version_changes_nothing(procqs: Procqs, tmp_path: Path, how: str) -> None:
    broken = Version(tmp_path, "8.0.0")
    damage, said = BROKEN[how]
    damage(broken)
    procq = procqs(MIXED).start(4)
    before, info = procq.workers(), procq.info()
    for _ in range(2):
        told = broken.upgrade(procq, code=ExitCode.FAILED)
        assert "not upgraded to 8.0.0" in told and said in told, told
        after = procq.info()
        assert (after.pid, after.release, after.control_plane) == (info.pid, info.release, info.control_plane)
        assert procq.workers() == before
    assert "goes on" in procq.said()
    procq.command("scale", "plain=1")
    procq.wait_running(2)
    # The former image is as good as it was: it can be upgraded after all.
    Version(tmp_path, "8.0.1").take_over(procq)
    assert procq.wait_running(2).items() <= before.items()


def test_an_upgrade_in_place_replaces_the_files_of_what_runs(procqs: Procqs, tmp_path: Path) -> None:
    """The usual way: the same paths, other contents; and back to what is not there any more when that fails."""
    version = Version(tmp_path, "8.1.0")
    procq = procqs(MIXED).start(4)
    before = procq.workers()
    version.take_over(procq)
    extension = version.extension.read_bytes()
    version.install(extension)
    version.change("core.py", 'VERSION = "8.1.0"', 'VERSION = "8.1.1"')
    version.name = "8.1.1"
    version.take_over(procq)
    _fails_to_resume(version)
    version.install(extension)
    assert "planted" in version.upgrade(procq, code=ExitCode.FAILED)
    assert procq.info().release == "8.1.1"
    assert procq.workers() == before


def test_files_of_a_version_that_the_keeper_does_not_understand_cost_no_worker(procqs: Procqs, tmp_path: Path) -> None:
    version = Version(tmp_path, "8.2.0")
    procq = procqs(MIXED).start(4)
    before = procq.workers()
    version.take_over(procq)
    one, other = "PROTOCOL: Final = 1\n", "PROTOCOL: Final = 99\n"
    version.change("engine/local.py", one, other)
    os.kill(procq.control_plane(), signal.SIGKILL)
    until(lambda: "`procq upgrade` has the keeper follow" in procq.said(), procq.said)
    assert all(processes.exists(worker.pid) for worker in before.values())
    version.change("engine/local.py", other, one)
    assert procq.wait_running(4) == before


def test_what_is_being_stopped_or_does_not_run_is_not_upgraded(procqs: Procqs, versions: Versions) -> None:
    stubborn = " ".join(program("stubborn.py", "born"))
    procq = procqs(f"queues:\n  s:\n    command: {stubborn}\n    stop:\n      grace: 5s\n")
    assert "is not running" in versions[0].upgrade(procq, code=ExitCode.NOT_RUNNING)
    procq.start(1)
    until((procq.folder / "born").exists, "its deaf ear")
    procq.signal(signal.SIGTERM)
    until(lambda: procq.info().shutting_down, "the shutdown")
    assert "everything is being stopped" in versions[0].upgrade(procq, code=ExitCode.FAILED)
    procq.wait()


def test_only_files_of_the_same_user_or_root_become_part_of_it(procqs: Procqs, tmp_path: Path) -> None:
    version = Version(tmp_path, "8.2.0")
    procq = procqs(MIXED).start(4)
    version.extension.chmod(0o777)
    assert "can be written by everybody" in version.upgrade(procq, code=ExitCode.FAILED)
    version.extension.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(version.extension, 65534, -1)
        assert "belongs to user 65534" in version.upgrade(procq, code=ExitCode.FAILED)


def test_who_waits_for_an_answer_during_an_upgrade_gets_one(procqs: Procqs, versions: Versions) -> None:
    """Nobody who asks for the status sees that the control plane is replaced."""
    procq = procqs(MIXED).start(4)
    over, failures, asked = threading.Event(), [], []

    def ask() -> None:
        while not over.is_set():
            try:
                asked.append(procq.status())
            except Exception as error:  # each is a failure
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    for version in versions:
        version.take_over(procq)
    over.set()
    asking.join()
    assert asked and failures == []
