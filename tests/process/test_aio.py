"""The manager in asyncio: the program's own loop, never blocked, safe to cancel."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

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


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


@pytest.fixture(autouse=True)
def marked(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything the test starts carries the oracle's cookie."""
    monkeypatch.setenv(processes.COOKIE, oracle.cookie)


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE):
            await main

    asyncio.run(bounded())


def test_the_same_names_as_coroutines() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            await manager.add("emails", SLEEP, workers=2)
            assert await manager.wait_until_running(PATIENCE)
            before = {worker.id: worker.pid for worker in await manager.status()}
            await manager.scale("emails", 3)
            assert await manager.wait_until_running(PATIENCE)
            assert {worker.id: worker.pid for worker in manager.workers()}.items() > before.items()
            await manager.restart("emails.1")
            assert await manager.wait_until_running(PATIENCE)
            assert manager.worker("emails.1").pid != before["emails.1"]
            await manager.stop("emails.2")
            await manager.worker("emails.2").wait(PATIENCE)
            await manager.start("emails.2")
            assert await manager.wait_until_running(PATIENCE)
            await manager.stop_all(PATIENCE)
            assert {worker.state for worker in manager.workers()} == {"stopped"}
            await manager.remove("emails")
            assert manager.workers() == []
        with pytest.raises(procq.ManagerClosed):
            await manager.status()
        await manager.close()

    run(main())


def test_a_worker_as_a_handle() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            worker = await manager.spawn(shell("echo up; exec sleep 1000"), name="one")
            assert worker.is_running()
            assert await worker.memory_usage() >= 0
            first = worker.pid
            await worker.restart()
            assert await worker.wait_until_running(PATIENCE)
            assert worker.pid != first
            await worker.stop(PATIENCE)
            assert (worker.state, worker.exit) == ("stopped", ExitStatus(-signal.SIGTERM))
            await worker.start()
            assert await worker.wait_until_running(PATIENCE)
            with pytest.raises(procq.NotStarted):
                await manager.spawn(["sleeep"])

    run(main())


def test_output_is_followed_beside_other_work() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            workers = [await manager.spawn(shell(f"seq {n}"), restart=ONCE, name=f"seq{n}") for n in (100, 200, 300)]

            async def count(worker: procq.AsyncWorkerProcess) -> int:
                return len([line async for line in worker.output(follow=True)])

            assert await asyncio.gather(*map(count, workers)) == [100, 200, 300]
            assert [line.text async for line in workers[0].output(2)] == ["99", "100"]

    run(main())


def test_a_follower_can_be_left_and_cancelled() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            worker = await manager.spawn(shell("echo up; exec sleep 1000"))
            before = len(os.listdir("/proc/self/fd"))

            async def follow() -> None:
                async for _ in worker.output(follow=True):
                    pass

            for _ in range(20):
                task = asyncio.create_task(follow())
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                async for line in worker.output(follow=True):
                    assert line.text == "up"
                    break
            gc.collect()
            while len(os.listdir("/proc/self/fd")) > before:
                await asyncio.sleep(0)
            assert worker.is_running()

    run(main())


def test_too_many_readers_are_told() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            worker = await manager.spawn(shell("echo up; exec sleep 1000"))
            # More at once than may wait at the keeper's door, too.
            readers = [worker.output(follow=True) for _ in range(300)]
            first = await asyncio.gather(*map(anext, readers), return_exceptions=True)
            refused = [each for each in first if isinstance(each, procq.ProcqError)]
            assert len(refused) == 300 - 256
            assert "256 at a time" in str(refused[0])
            assert len([each for each in first if isinstance(each, procq.Line)]) == 256
            await worker.stop(PATIENCE)

    run(main())


def test_what_is_cancelled_only_stops_waiting() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            deaf = shell("trap '' TERM; echo deaf; while :; do sleep 1; done")
            worker = await manager.spawn(deaf, stop=StopPolicy(grace=0.5))
            async for _ in worker.output(follow=True):
                break
            for wait in (worker.wait(), worker.stop(), manager.stop_all()):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await wait
            assert worker.state == "stopping"
            assert await worker.wait(PATIENCE) == ExitStatus(-signal.SIGKILL)

    run(main())


def test_a_spawn_that_is_cancelled_leaves_nothing() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            task = asyncio.create_task(manager.spawn(SLEEP))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while manager.workers():
                await asyncio.sleep(0)

    run(main())


def test_a_close_that_is_cancelled_stops_everything_all_the_same() -> None:
    async def main() -> None:
        manager = procq.AsyncManager(output=False)
        async with manager:
            deaf = shell("trap '' TERM; echo deaf; while :; do sleep 1; done")
            worker = await manager.spawn(deaf, stop=StopPolicy(grace=0.5))
            async for _ in worker.output(follow=True):
                break
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await manager.close()
            await manager.close()

    run(main())


def test_a_loop_that_ends_without_closing_takes_its_workers_along(oracle: Oracle) -> None:
    async def main() -> None:
        manager = procq.AsyncManager(output=False)
        await manager.__aenter__()
        await manager.spawn(SLEEP)
        assert len(oracle.alive()) >= 3
        kept.append(manager)

    kept: list[procq.AsyncManager] = []
    run(main())
    team = kept[0]._opened
    assert team is not None
    team.keeper.wait(PATIENCE)
    until(lambda: oracle.alive() == [], "everything to end")


def test_two_managers_and_fifty_workers_in_one_loop_that_is_never_blocked() -> None:
    async def main() -> None:
        stalls: list[float] = []

        async def beat() -> None:
            last = time.monotonic()
            while True:
                await asyncio.sleep(0.001)
                now = time.monotonic()
                stalls.append(now - last)
                last = now

        async with procq.AsyncManager(output=False) as one, procq.AsyncManager(output=False) as two:
            heart = asyncio.create_task(beat())
            for manager in (one, two):
                await manager.add("a", SLEEP, workers=25)
            assert await one.wait_until_running(PATIENCE)
            assert await two.wait_until_running(PATIENCE)
            pids = {worker.pid for manager in (one, two) for worker in await manager.status()}
            assert len(pids) == 50
            await one.stop_all(PATIENCE)
            assert {worker.state for worker in two.workers()} == {"running"}
            heart.cancel()
        # Far above what a busy machine does to us, far below what a blocking wait would.
        assert max(stalls) < 1.0

    run(main())


async def _all(worker: procq.AsyncWorkerProcess) -> list[str]:
    return [line.text async for line in worker.output(follow=True)]


def test_when_the_keeper_is_killed_everybody_is_told(oracle: Oracle) -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            worker = await manager.spawn(SLEEP)
            (keeper,) = processes.children(manager._team.keeper.pid)
            waiting = [asyncio.create_task(worker.wait()), asyncio.create_task(_all(worker))]
            await asyncio.sleep(0)
            os.kill(keeper, signal.SIGKILL)
            # Whoever waited for an end is told that nobody can know any more; who read has read all.
            end, read = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(end, procq.ManagerClosed)
            assert read == []
            with pytest.raises(procq.ManagerClosed):
                while True:
                    await manager.scale("sleep", 2)
                    await asyncio.sleep(0)

    run(main())
    until(lambda: oracle.alive() == [], "everything to end")


def test_who_waits_is_told_the_end_also_when_the_manager_is_closed_meanwhile() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            worker = await manager.spawn(SLEEP)
            waiting = asyncio.create_task(worker.wait())
            await asyncio.sleep(0)
        assert await waiting == ExitStatus(-signal.SIGTERM)

    run(main())


def test_no_threads_of_its_own() -> None:
    async def main() -> None:
        before = threading.active_count()
        async with procq.AsyncManager(output=False) as manager:
            await manager.add("a", SLEEP)
            assert await manager.wait_until_running(PATIENCE)
            # Loading the manifest used one of the loop's own threads, no more.
            assert threading.active_count() <= before + 1

    run(main())


def test_a_manager_that_is_not_open_says_so() -> None:
    async def main() -> None:
        manager = procq.AsyncManager()
        with pytest.raises(procq.ManagerClosed, match="async with"):
            manager.workers()
        await manager.close()

    run(main())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_no_manager() -> None:
    async def main() -> None:
        async with procq.AsyncManager(output=False) as manager:
            worker = await manager.spawn(SLEEP)
            child = os.fork()
            if not child:
                try:
                    manager.workers()
                except procq.ManagerClosed:
                    os._exit(7)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert worker.is_running()
            await worker.restart()
            assert await worker.wait_until_running(PATIENCE)

    run(main())


PROGRAM = """
import asyncio, procq
async def main():
    async with procq.AsyncManager(output=False) as manager:
        await manager.add("emails", ["sleep", "1000"], workers=3)
        assert await manager.wait_until_running(30)
        print("running", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_when_the_program_ends_its_workers_end(oracle: Oracle, end: signal.Signals, tmp_path: Path) -> None:
    with (
        open(tmp_path / "errors", "wb") as errors,
        subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=errors) as program,
    ):
        assert program.stdout is not None
        assert program.stdout.readline() == b"running\n"
        program.send_signal(end)
        program.wait(PATIENCE)
    until(lambda: oracle.alive() == [], "everything to end")
