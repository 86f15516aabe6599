"""Single workers of a manager as handles: start, stop, restart, output, memory, wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import procq
from procq import RestartPolicy, RestartWhen, StopPolicy
from procq.endings import ExitStatus
from tests.process.support import processes
from tests.process.support.oracle import Oracle
from tests.process.support.waiting import PATIENCE, until

pytestmark = pytest.mark.process

SLEEP = ["sleep", "1000"]
ONCE = RestartPolicy(RestartWhen.NEVER)
DEAF = ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


@pytest.fixture(autouse=True)
def marked(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything the test starts carries the oracle's cookie."""
    monkeypatch.setenv(processes.COOKIE, oracle.cookie)


@pytest.fixture
def manager(marked: None) -> Iterator[procq.Manager]:
    with procq.Manager(output=False) as made:
        yield made


def test_a_spawned_worker_runs_when_spawn_returns(manager: procq.Manager) -> None:
    worker = manager.spawn(SLEEP)
    assert (worker.id, worker.queue, worker.slot) == ("sleep.1", "sleep", 1)
    assert worker.is_running()
    assert worker.pid is not None
    assert processes.command(worker.pid) == "sleep 1000"
    assert until(worker.memory_usage, "some memory") > 4_096
    assert manager.spawn(SLEEP).id == "sleep-2.1"
    with pytest.raises(ValueError, match="already"):
        manager.spawn(SLEEP, name="sleep")


def test_what_cannot_start_says_why_and_leaves_no_queue(manager: procq.Manager) -> None:
    with pytest.raises(procq.NotStarted, match="sleeep did not start: command"):
        manager.spawn(["sleeep"])
    assert manager.status() == []
    with pytest.raises(procq.NotStarted, match="cannot enter the directory"):
        manager.spawn(SLEEP, directory="/no/such/place")


def test_stop_start_and_restart(manager: procq.Manager) -> None:
    worker = manager.spawn(SLEEP)
    first = worker.pid
    worker.stop()
    assert (worker.state, worker.pid, worker.memory_usage()) == ("stopped", None, 0)
    assert worker.exit == ExitStatus(-signal.SIGTERM)
    worker.stop()
    worker.start()
    assert worker.wait_until_running(PATIENCE)
    second = worker.pid
    worker.restart()
    assert worker.wait_until_running(PATIENCE)
    assert worker.pid not in (None, first, second)


def test_a_rolling_restart_goes_one_by_one(manager: procq.Manager) -> None:
    update = procq.UpdatePolicy(batch=procq.Share(1), pause=0.05)
    manager.add("emails", SLEEP, workers=3, update=update)
    assert manager.wait_until_running(PATIENCE)
    before = {worker.pid for worker in manager.status()}
    manager.restart("emails", rolling=True)

    def replaced() -> bool:
        found = {worker.pid for worker in manager.status() if worker.state == "running"}
        assert len(found) >= 2
        return len(found) == 3 and not found & before

    until(replaced, "three others")


def test_stop_says_who_is_still_there(manager: procq.Manager) -> None:
    worker = manager.spawn(DEAF, stop=StopPolicy(grace=0.8))
    until(lambda: list(worker.output()), "the worker to be deaf")
    with pytest.raises(procq.StillRunning) as still:
        worker.stop(timeout=0.05)
    assert still.value.workers == (worker.id,)
    worker.stop(timeout=PATIENCE)
    assert worker.exit == ExitStatus(-signal.SIGKILL)


def test_wait_tells_how_it_ended(manager: procq.Manager) -> None:
    assert manager.spawn(shell("exit 7"), restart=ONCE).wait(PATIENCE) == ExitStatus(7)
    endless = manager.spawn(SLEEP)
    with pytest.raises(TimeoutError, match=r"sleep\.1 has not ended"):
        endless.wait(0.01)
    manager.remove("sleep")
    assert endless.wait(PATIENCE) == ExitStatus(-signal.SIGTERM)
    assert endless.state == "gone"
    with pytest.raises(procq.NoSuchTarget):
        endless.start()


def test_the_last_lines_are_there_also_after_the_end(manager: procq.Manager) -> None:
    worker = manager.spawn(shell("seq 5; printf 'no end' >&2"), restart=ONCE)
    worker.wait(PATIENCE)
    lines = list(worker.output())
    assert [line.text for line in lines if line.stream == "stdout"] == ["1", "2", "3", "4", "5"]
    assert [str(line) for line in lines if line.stream == "stderr"] == ["no end"]
    assert {line.worker for line in lines} == {worker.id}
    assert [line.text for line in worker.output(1)] in (["5"], ["no end"])
    with pytest.raises(ValueError, match="lines"):
        list(worker.output(-1))


def test_following_ends_with_the_worker_and_misses_nothing(manager: procq.Manager) -> None:
    worker = manager.spawn(shell("seq 20000"), restart=ONCE)
    lines = list(worker.output(100_000, follow=True))
    got = [int(line.text) for line in lines]
    lost = sum(line.missing for line in lines)
    assert got[-1] == 20_000
    # The ring holds what was written before we came; what is missing was told of.
    assert got == list(range(got[0], 20_001)) or lost
    assert worker.exit == ExitStatus(0)


def test_a_follower_who_comes_late_still_gets_the_end(manager: procq.Manager, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    worker = manager.spawn(shell(f"echo first; read go < {tmp_path}/go; seq 200000"), restart=ONCE)
    lines = worker.output(follow=True)
    assert next(lines).text == "first"
    (tmp_path / "go").write_text("go\n")
    worker.wait(PATIENCE)
    # More than a connection holds had to wait in the keeper; what that does not hold either is counted.
    got = list(lines)
    lost = sum(line.missing for line in got)
    assert got[-1].text == "200000" or got[-1].missing
    assert sum(len(line.text) + 1 for line in got if line.text) + lost == sum(len(f"{n}\n") for n in range(1, 200_001))


def test_following_sees_what_is_written_later(manager: procq.Manager, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "told")
    worker = manager.spawn(shell(f"exec 3<>{tmp_path}/told; echo ready; while read line <&3; do echo got $line; done"))
    lines = worker.output(follow=True)
    assert next(lines).text == "ready"
    for word in ("one", "two"):
        (tmp_path / "told").write_text(f"{word}\n")
        assert next(lines).text == f"got {word}"
    manager.stop(worker.id)
    assert list(lines) == []


def test_a_follower_in_another_thread_ends_when_the_manager_is_closed() -> None:
    found: list[str] = []
    with procq.Manager(output=False) as manager:
        worker = manager.spawn(shell("echo up; exec sleep 1000"))
        follower = threading.Thread(target=lambda: found.extend(map(str, worker.output(follow=True))))
        follower.start()
        until(lambda: list(worker.output()), "the first line")
    follower.join(PATIENCE)
    assert not follower.is_alive()
    assert found == ["up"]
    with pytest.raises(procq.ManagerClosed):
        list(worker.output())


def test_a_follower_that_has_something_else_to_do_ends_too() -> None:
    with procq.Manager(output=False) as manager:
        lines = manager.spawn(shell("echo up; exec sleep 1000")).output(follow=True)
        assert next(lines).text == "up"
    assert list(lines) == []


def test_a_reader_that_takes_its_time_costs_nothing(manager: procq.Manager) -> None:
    worker = manager.spawn(shell("while :; do echo line; done"), name="chatty")
    lines = worker.output(follow=True)
    next(lines)
    # The engine answers at once though the follower does not read; what is lost is counted.
    for _ in range(20):
        assert worker.is_running()
    assert until(lambda: next(line.missing for line in lines if line.missing), "a gap") > 0
    lines.close()  # type: ignore[attr-defined]
    worker.stop(PATIENCE)


def test_workers_are_found_by_name(manager: procq.Manager) -> None:
    manager.add("emails", SLEEP, workers=2)
    manager.add("web", SLEEP)
    assert [worker.id for worker in manager.workers()] == ["emails.1", "emails.2", "web.1"]
    assert [worker.id for worker in manager.workers("emails")] == ["emails.1", "emails.2"]
    assert manager.worker("emails.2").id == "emails.2"
    with pytest.raises(procq.NoSuchTarget):
        manager.worker("emails.3")
    with pytest.raises(ValueError, match="not a worker id"):
        manager.worker("emails")
    assert manager.wait_until_running(PATIENCE)
    manager.worker("emails.1").stop(PATIENCE)
    assert [worker.state for worker in manager.workers("emails")] == ["stopped", "running"]


def test_options_reach_the_worker(manager: procq.Manager, tmp_path: Path) -> None:
    options = procq.WorkerOptions(
        shell('echo "$A $(pwd) $(umask)"'),
        env={"A": "b c"},
        directory=tmp_path,
        umask=0o027,
        restart=ONCE,
        logs=procq.LogPolicy(file=str(tmp_path / "{queue}.{slot}.log")),
    )
    worker = manager.spawn(options, name="told")
    worker.wait(PATIENCE)
    assert [line.text for line in worker.output()] == [f"b c {tmp_path} 0027"]
    until((tmp_path / "told.1.log").read_text, "the log file")
    other = manager.spawn(options, env={"A": "changed"})
    other.wait(PATIENCE)
    assert next(iter(other.output())).text.startswith("changed ")


def test_surroundings_reach_the_worker(manager: procq.Manager) -> None:
    told = shell('test -t 1 && where=terminal; echo "$(nice) $(ulimit -n) $(ulimit -c) $where"')
    limits: dict[str, int | procq.Limit] = {"nofile": 64, "core": procq.Limit(0, None)}
    if os.geteuid():
        limits["core"] = 0  # only root may raise a hard limit
    worker = manager.spawn(told, nice=os.nice(0) + 3, rlimits=limits, tty=True, restart=ONCE)
    worker.wait(PATIENCE)
    assert [line.text for line in worker.output()] == [f"{os.nice(0) + 3} 64 0 terminal"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run workers as somebody else")
def test_a_worker_runs_as_another_user(manager: procq.Manager) -> None:
    worker = manager.spawn(shell("id -un"), user="nobody", directory="/", restart=ONCE)
    worker.wait(PATIENCE)
    assert [line.text for line in worker.output()] == ["nobody"]


def test_a_factory_makes_what_is_scaled(marked: None) -> None:
    factory = procq.WorkerFactory(["/bin/sh", "-c", 'echo "$1"; exec sleep 1000', "sh", "{queue}"])
    with procq.Manager(factory=factory, output=False) as manager:
        manager.scale("emails", 2)
        assert manager.wait_until_running(PATIENCE)
        until(lambda: list(manager.worker("emails.2").output()), "output")
        assert [line.text for line in manager.worker("emails.2").output()] == ["emails"]


def test_the_manifest_here_knows_what_is_scaled(marked: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "procq.yaml").write_text(
        "queues:\n  default:\n    command: sleep 1000\n    after: other\n  other: sleep 1000\n"
    )
    monkeypatch.chdir(tmp_path)
    with procq.Manager(output=False) as manager:
        manager.scale("default", 4)
        assert manager.wait_until_running(PATIENCE)
        assert [worker.id for worker in manager.status()] == [f"default.{n}" for n in range(1, 5)]
        with pytest.raises(procq.NoSuchQueue, match=r'no queue "defualt", neither added nor in .*procq\.yaml'):
            manager.scale("defualt", 1)


def test_two_managers_and_fifty_workers(marked: None) -> None:
    with procq.Manager(output=False) as one, procq.Manager(output=False) as two:
        one.add("a", SLEEP, workers=25)
        two.add("a", SLEEP, workers=25)
        assert one.wait_until_running(PATIENCE), one.status()
        assert two.wait_until_running(PATIENCE), two.status()
        first, second = ({worker.pid for worker in manager.status()} for manager in (one, two))
        assert len(first | second) == 50
        one.stop_all(PATIENCE)
        assert [worker.state for worker in two.workers()] == ["running"] * 25


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_read_the_parents_output(manager: procq.Manager) -> None:
    worker = manager.spawn(shell("echo up; exec sleep 1000"))
    lines = worker.output(follow=True)
    assert next(lines).text == "up"
    child = os.fork()
    if not child:
        try:
            next(iter(worker.output()))
        except procq.ManagerClosed:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    worker.stop(PATIENCE)
    assert list(lines) == []


PROGRAM = """
import procq, sys
manager = procq.Manager(output=False)
worker = manager.spawn([sys.executable, "-c", '''
import signal, sys, time
def leave(*_):
    open(sys.argv[1], "w").write("left gracefully")
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(1000)
''', sys.argv[1]])
next(worker.output(follow=True))
print("running", flush=True)
sys.stdin.read()
"""


def test_when_the_program_is_killed_a_worker_leaves_gracefully(oracle: Oracle, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "note")]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdin is not None
    assert program.stdout is not None
    with program, program.stdin, program.stdout:
        assert program.stdout.readline() == b"running\n"
        os.kill(program.pid, signal.SIGKILL)
        program.wait(PATIENCE)
    until(lambda: oracle.alive() == [], "everything to end")
    assert (tmp_path / "note").read_text() == "left gracefully"


INTERRUPTED = """
import procq
with procq.Manager(output=False) as manager:
    worker = manager.spawn(["sleep", "1000"])
    try:
        print("running", flush=True)
        worker.wait()
    except KeyboardInterrupt:
        print(worker.state, flush=True)
"""


def test_an_interrupt_ends_the_waiting_and_nothing_else(oracle: Oracle) -> None:
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"running\n"
        program.send_signal(signal.SIGINT)
        assert program.stdout.readline() == b"running\n"
        assert program.wait(PATIENCE) == 0
    until(lambda: oracle.alive() == [], "everything to end")


def test_when_the_keeper_is_killed_everybody_is_told(oracle: Oracle) -> None:
    manager = procq.Manager(output=False)
    worker = manager.spawn(shell("echo up; exec sleep 1000"))
    lines = worker.output(follow=True)
    assert next(lines).text == "up"
    (keeper,) = processes.children(manager._team.keeper.pid)
    os.kill(keeper, signal.SIGKILL)
    assert list(lines) == []
    with pytest.raises(procq.ManagerClosed):
        until(lambda: worker.state == "nonsense", "the manager to notice")
    manager.close()
    until(lambda: oracle.alive() == [], "everything to end")
