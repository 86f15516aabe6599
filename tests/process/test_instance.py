"""Locks, sockets and strangers: FAULTS 24, 62, 63, 64, 66, and garbage on every socket."""

from __future__ import annotations

import os
import resource
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Keepers, Procqs
from tests.process.support.hosted import start_hosted
from tests.process.support.keeper import WORKERS, Keeper
from tests.process.support.processes import Stat
from tests.process.support.project import PROCQ, Procq
from tests.process.support.trials import CI, SEED
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process

MANIFEST = "queues:\n  a:\n    command: sleep 1000\n    workers: 3\n"
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def procq(procqs: Procqs) -> Procq:
    made = procqs(MANIFEST)
    made.start(3)
    return made


def test_faults_62_a_second_procq_is_refused(procq: Procq) -> None:
    before = procq.workers()
    for _ in range(3):
        said = procq.command("up", str(procq.manifest), code=1)
        assert f"is already running (pid {procq.info().sentinel}" in said
        assert "--name" in said
    assert procq.workers() == before


def test_faults_62_two_at_once_one_runs(procqs: Procqs) -> None:
    procq = procqs(MANIFEST)
    command = [str(PROCQ), "up", str(procq.manifest)]
    racers = [
        subprocess.Popen(command, env=procq.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(4)
    ]
    procq.began(3)
    until(lambda: [racer.poll() for racer in racers].count(1) == 3, "the others to be refused")
    (procq.process,) = (racer for racer in racers if racer.poll() is None)
    assert len(procq.workers()) == 3


def test_faults_62_the_lock_of_a_dead_procq_is_free(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(3)
    os.kill(procq.info().pid, 9)
    procq.wait()
    procq.start(3)


def test_faults_66_the_number_in_the_lock_is_never_read(procq: Procq) -> None:
    """It names somebody else now; nobody is signalled, and the commands work."""
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        lock = Path(procq.project.lock)
        assert lock.read_text() == f"{procq.info().pid}\n"
        lock.write_text(f"{bystander.pid}\n")
        procq.command("status")
        procq.command("restart", "a.1")
        assert "already running" in procq.command("up", str(procq.manifest), code=1)
        procq.command("down")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def modes(procq: Procq) -> dict[str, int]:
    files = (procq.project.run_dir, procq.project.keeper_socket, procq.project.api_socket, procq.project.lock)
    return {os.path.basename(file): stat.S_IMODE(os.lstat(file).st_mode) for file in files}


def test_faults_63_nobody_else_can_reach_the_sockets(procqs: Procqs) -> None:
    former = os.umask(0)
    try:
        procq = procqs(MANIFEST).start(3)
    finally:
        os.umask(former)
    found = modes(procq)
    assert found.pop(os.path.basename(procq.project.run_dir)) == 0o700
    assert set(found.values()) == {0o600}


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_faults_63_another_user_is_turned_away(procq: Procq) -> None:
    """Even where the directories let it through: the keeper looks at the peer."""
    run_dir = Path(procq.project.run_dir)
    for path in (run_dir.parents[1], run_dir.parent, run_dir, Path(procq.project.keeper_socket)):
        path.chmod(0o777)
    code = f"""
import socket
s = socket.socket(socket.AF_UNIX)
s.connect({procq.project.keeper_socket!r})
s.sendall(b"\\x08\\0\\0\\0\\x81\\xa1t\\xa4stop")
assert s.recv(1) == b"", "it was answered"
"""
    interpreter = os.path.realpath("/usr/bin/python3")
    for command in (AS_NOBODY, []):
        done = subprocess.run([*command, interpreter, "-c", code], capture_output=True, text=True, check=False)
        if command:
            assert done.returncode == 0 or "ConnectionReset" in done.stderr or "BrokenPipe" in done.stderr, done.stderr
            assert not procq.info().shutting_down
    assert "it was answered" in done.stderr, "the same from the owner is obeyed"
    assert procq.wait() == 0


def test_faults_64_a_link_in_the_place_of_the_lock_is_not_followed(procqs: Procqs, tmp_path: Path) -> None:
    procq = procqs(MANIFEST)
    procq.project.prepare()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    os.symlink(precious, procq.project.lock)
    done = subprocess.run(
        [str(PROCQ), "up", str(procq.manifest)],
        env=procq.environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert precious.read_text() == "precious"
    os.remove(procq.project.lock)


def test_faults_24_the_api_answers_while_descriptors_are_short(procq: Procq) -> None:
    keeper = procq.info().pid
    before = procq.workers()
    limits = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
    used = sum(processes.descriptors(keeper).values())
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (used + 2, limits[1]))
    procq.command("scale", "a=6")
    until(lambda: "open files" in (procq.queue("a").problem or ""), "the lack to be shown")
    throughout(0.3, lambda: procq.queue("a").running == 3, "answers while descriptors are short")
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, limits)
    after = procq.wait_running(6)
    assert {worker: after[worker] for worker in before} == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-program-anywhere", '"no-such-program-anywhere" not found in the PATH'),
        ("./plain", "Permission denied"),
        ("./orphaned", "interpreter"),
        ("./data", "neither a program nor a script"),
    ],
)
def test_faults_23_42_status_names_what_cannot_be_executed_and_no_loop_is_tight(
    procqs: Procqs, command: str, words: str
) -> None:
    procq = procqs(f"queues:\n  a: {command}\n  b: sleep 1000\n")
    (procq.folder / "plain").write_text("text")
    for name, text in (("orphaned", "#!/no/such/interpreter\n"), ("data", "\0\1\2")):
        (procq.folder / name).write_text(text)
        (procq.folder / name).chmod(0o755)
    procq.start()
    until(lambda: words in (procq.queue("a").problem or ""), f"{words!r} to be shown")
    generation = max(worker.generation or 0 for worker in procq.status().workers)
    throughout(0.5, lambda: max(w.generation or 0 for w in procq.status().workers) <= generation + 3, "patience")
    assert procq.queue("b").running == 1


def test_faults_42_a_crash_loop_is_slowed_down_and_shown(procqs: Procqs) -> None:
    procq = procqs("queues:\n  a:\n    command: 'false'\n    restart:\n      backoff: 100ms..30s\n").start()
    until(lambda: procq.queue("a").state == "crashing", "it to be shown")
    until(lambda: (procq.status().workers[0].retry_in or 0) > 0.5, "a longer pause")
    assert (procq.status().workers[0].generation or 0) < 8
    assert "exit code 1" in (procq.queue("a").problem or "")


def mutated(random: Random, frame: bytes) -> bytes:
    data = bytearray(frame)
    for _ in range(random.randrange(1, 6)):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data[: random.randrange(1, len(data) + 1)] if random.random() < 0.3 else data)


# {"t": "logs", "workers": ["*"], "tail": 10, "follow": false}, in MessagePack
LOGS = b"\x84\xa1t\xa4logs\xa7workers\x91\xa1*\xa4tail\x0a\xa6follow\xc2"
INFO = b"\x81\xa1t\xa4info"


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def garbage(random: Random) -> bytes:
    match random.randrange(4):
        case 0:
            return random.randbytes(random.randrange(1, 4096))
        case 1:
            return frame(random.randbytes(random.randrange(1, 200)))
        case 2:
            return struct.pack("<I", random.choice([1 << 20, (1 << 20) + 1, 0xFFFFFFFF])) + random.randbytes(64)
        case _:
            return b"".join(mutated(random, frame(random.choice([LOGS, INFO]))) for _ in range(random.randrange(1, 8)))


def throw(path: str, random: Random, times: int) -> None:
    for _ in range(times):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.setblocking(False)
            try:
                client.send(garbage(random))
            except OSError:
                continue


def test_garbage_on_the_keepers_socket_harms_nobody(procq: Procq) -> None:
    before = procq.workers()
    throw(procq.project.keeper_socket, Random(SEED), CI.garbage)
    assert procq.info().running == 3
    throw(procq.project.api_socket, Random(SEED + 1), CI.garbage // 4)
    assert procq.workers() == before
    assert procq.info().starts == 1


def test_a_client_that_sends_half_a_frame_and_stays_costs_nothing(procq: Procq) -> None:
    clients = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for client in clients:
        client.connect(procq.project.keeper_socket)
        client.send(b"\x40\0\0\0\x81")
    assert procq.info().running == 3
    for client in clients:
        client.close()


def test_garbage_from_the_owner_is_the_end_of_a_conversation_and_a_graceful_stop(
    keepers: Keepers, tmp_path: Path
) -> None:
    """The link itself lets no garbage out: written beside it, into the same socket."""
    for trial in range(10):
        keeper: Keeper = keepers()
        _, pid = keeper.run(["sleep", "1000"])
        sockets = [int(fd) for fd in os.listdir("/proc/self/fd") if _is_link(int(fd), keeper)]
        assert len(sockets) == 1
        os.write(sockets[0], struct.pack("<I", 0xFFFFFFFF) + Random(SEED + trial).randbytes(100))
        assert keeper.sentinel.wait(20) == 0
        assert not processes.exists(pid)
        keeper.link.close()


def test_garbage_from_a_control_plane_costs_no_worker(procqs: Procqs) -> None:
    procq = procqs("")
    hostile = [sys.executable, str(WORKERS / "hostile.py"), procq.oracle.cookie]
    start_hosted(procq, may_fail=True, control=hostile)
    (worker,) = until(lambda: _sleepers(procq), "the worker")
    until(lambda: procq.info().starts > 5, "five kinds of garbage")
    assert processes.is_the_same(worker)
    assert procq.info().workers == 1
    assert "sent what is no command" in procq.said()
    procq.command("down")
    assert procq.wait() == 0


def _sleepers(procq: Procq) -> list[Stat]:
    found = (processes.stat(pid) for pid in procq.oracle.alive())
    return [stat for stat in found if stat is not None and stat.name == "sleep"]


def _is_link(fd: int, keeper: Keeper) -> bool:
    """Whether this descriptor of ours is the socket that the poller of the link watches."""
    try:
        info = Path(f"/proc/self/fdinfo/{keeper.link.fileno()}").read_text()
    except OSError:
        return False
    return any(line.startswith("tfd:") and int(line.split()[1]) == fd for line in info.splitlines())
