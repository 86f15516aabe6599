"""The manager for asyncio programs: the same names, as coroutines, in the program's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self, Unpack

from procq.endings import Outcome
from procq.manager.errors import ManagerClosed
from procq.manager.factory import WorkerFactory
from procq.manager.lines import Line
from procq.manager.options import Changes, WorkerOptions, options_of
from procq.manager.reading import check_lines
from procq.manager.sources import find, first
from procq.manager.team import Team
from procq.model import WorkerId
from procq.wire import WorkerView

_made: weakref.WeakSet[Team] = weakref.WeakSet()


class AsyncManager:
    """Runs queues of workers from asyncio. It lives in the loop in which it was opened, and never blocks that.

    Use it with `async with`. Workers live and die with the program: when the manager is closed, the loop ends, or the
    program does in any way, each is stopped as its stop policy says. What cancels one of the coroutines changes nothing
    but that it does not wait any longer. Everything raises ManagerClosed before the manager is open, once it is closed,
    and in a child that the program forks.
    """

    def __init__(
        self,
        manifest: str | os.PathLike[str] | None = None,
        *,
        factory: WorkerFactory | None = None,
        output: bool = True,
    ) -> None:
        """As `Manager`, but that nothing is started before `async with`."""
        self._manifest = manifest
        self._factory = factory
        self._output = output
        self._opened: Team | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Starts the keeper, and the workers of the manifest. Raises ManifestError, TooLarge."""
        if self._opened is not None:
            raise RuntimeError("a manager is opened once; make another one")
        manifest = await asyncio.to_thread(first, self._manifest)
        self._opened = Team(manifest, output=self._output)
        _made.add(self._opened)
        self._running = asyncio.create_task(self._opened.run(), name="procq engine")
        # Who cares is told by the methods; nobody has to fetch it from the task.
        self._running.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _team(self) -> Team:
        if self._opened is None:
            raise ManagerClosed(
                "the manager is not open yet", hint="Use it in `async with procq.AsyncManager() as m:`."
            )
        return self._opened

    # --- queues -------------------------------------------------------------------------------------------------

    async def add(self, name: str, command: Sequence[str] | WorkerOptions, **options: Unpack[Changes]) -> None:
        """Adds a queue, or replaces the one of that name, as `Manager.add`. Raises ValueError, TypeError."""
        self._team.add(options_of(command, options).queue(name))

    async def remove(self, name: str) -> None:
        """Takes a queue away; its workers leave. Raises NoSuchQueue (a KeyError) where there is none of that name."""
        self._team.remove(name)

    async def scale(self, queue: str, workers: int) -> None:
        """Changes how many workers a queue has, as `Manager.scale`. Raises NoSuchQueue (a KeyError), ValueError."""
        found = None if self._team.has(queue) else await asyncio.to_thread(find, queue, self._factory)
        self._team.scale(queue, workers, found)

    async def start(self, *names: str) -> None:
        """Starts what `stop` stopped, and tries again what gave up. Raises NoSuchTarget."""
        self._team.start(names)

    async def stop(self, *names: str) -> None:
        """Stops workers until they are started again; does not wait for their end. Raises NoSuchTarget."""
        self._team.stop(names)

    async def restart(self, *names: str, rolling: bool = False) -> None:
        """Replaces the workers that run: all at once, or `rolling`, in the batches of `update`. Raises NoSuchTarget."""
        self._team.restart(names, rolling)

    async def status(self, *names: str) -> list[WorkerView]:
        """The workers of `names`, all without, with what they use of the machine. Raises NoSuchTarget."""
        team = self._team
        loads = await asyncio.to_thread(team.meter.measure, team.observed(), team.now)
        return team.views(names, loads)

    async def wait_until_running(self, timeout: float | None = None) -> bool:
        """Waits until every worker that is wanted runs; False when some do not after `timeout` seconds."""
        return await self._team.until_running(timeout)

    async def stop_all(self, timeout: float | None = None) -> None:
        """Stops every worker and waits until all are gone. Raises StillRunning after `timeout` seconds."""
        await self._team.stop_all(timeout)

    async def close(self) -> None:
        """Stops every worker, then the keeper, and waits until both are gone. Closing twice does nothing.

        When it is cancelled, all the same is stopped; it can be called again to wait for that.
        """
        if self._opened is not None:
            await self._opened.close()
            await self._opened.reap()

    # --- single workers -----------------------------------------------------------------------------------------

    async def spawn(
        self, command: Sequence[str] | WorkerOptions, *, name: str | None = None, **options: Unpack[Changes]
    ) -> AsyncWorkerProcess:
        """Runs a single worker, and waits until it executes, as `Manager.spawn`. Raises NotStarted, ValueError.

        When it is cancelled before, the worker is taken away again.
        """
        chosen, team = options_of(command, options).replace(workers=1), self._team
        called = name if name is not None else team.free_name(chosen.command)
        return AsyncWorkerProcess(team, await team.spawn(chosen.queue(called)))

    def worker(self, id: str) -> AsyncWorkerProcess:
        """One worker, as `emails.1`. Raises NoSuchTarget where there is none."""
        (found,) = self.workers(str(WorkerId.parse(id)))
        return found

    def workers(self, *names: str) -> list[AsyncWorkerProcess]:
        """The workers of `names`: queues, workers, or patterns; all without. Raises NoSuchTarget."""
        return [AsyncWorkerProcess(self._team, worker) for worker in self._team.workers(names)]


class AsyncWorkerProcess:
    """One worker of an `AsyncManager`: a slot of a queue, whatever process is in it at the moment."""

    def __init__(self, team: Team, worker: WorkerId) -> None:
        self._team = team
        self._worker = worker

    def __repr__(self) -> str:
        return f"<AsyncWorkerProcess {self.id}>"

    @property
    def id(self) -> str:
        """Its name, `queue.slot`."""
        return str(self._worker)

    @property
    def queue(self) -> str:
        """The queue it belongs to."""
        return self._worker.queue

    @property
    def slot(self) -> int:
        """Its number in the queue; slots count from 1."""
        return self._worker.slot

    @property
    def state(self) -> str:
        """What it does: starting, running, stopping, waiting, stopped, finished, failed, or gone."""
        return self.status().state

    @property
    def pid(self) -> int | None:
        """The number of its process; None while none executes."""
        return self.status().pid

    @property
    def exit(self) -> Outcome | None:
        """How its last process ended: an `ExitStatus`, a `SpawnFailure` or a `Refusal`; None while none has."""
        return self._team.exit(self._worker)

    def is_running(self) -> bool:
        """Whether its program executes and was not asked to leave."""
        return self.state == "running"

    def status(self) -> WorkerView:
        """All that is known about it, but for what it uses of the machine: see `memory_usage`."""
        return self._team.view(self._worker)

    async def memory_usage(self) -> int:
        """Resident bytes of its process tree, shared pages counted for each process; 0 while nothing runs."""
        pid = self.pid
        return 0 if pid is None else await asyncio.to_thread(self._team.memory, pid)

    async def start(self) -> None:
        """Starts it after `stop`, or after it gave up. Raises NoSuchTarget when it is gone."""
        self._team.start([self.id])

    async def restart(self) -> None:
        """Replaces its process. Raises NoSuchTarget when it is gone."""
        self._team.restart([self.id], rolling=False)

    async def stop(self, timeout: float | None = None) -> None:
        """Asks it to leave and waits until it has left; it stays stopped until `start`.

        After its grace period it is killed. Raises StillRunning when it is there after `timeout` seconds.
        """
        await self._team.stop_one(self._worker, timeout)

    async def wait_until_running(self, timeout: float | None = None) -> bool:
        """Waits until it runs, or rests because that was wanted; False when it does not after `timeout` seconds."""
        return await self._team.until_running(timeout, self.id)

    async def wait(self, timeout: float | None = None) -> Outcome | None:
        """Waits until it has ended and nothing takes its place by itself; returns how it ended, as `exit`.

        Raises TimeoutError after `timeout` seconds.
        """
        return await self._team.wait(self._worker, timeout)

    async def output(self, lines: int = 1000, *, follow: bool = False) -> AsyncIterator[Line]:
        """The last `lines` it wrote, as far as they are in memory (at least 4 KiB of them), the oldest first.

        With `follow`, then what it writes next, until it has ended and nothing takes its place by itself.
        """
        check_lines(lines)
        async with contextlib.aclosing(self._team.output(self._worker, lines, follow)) as batches:
            async for batch in batches:
                for line in batch:
                    yield line


def _after_fork() -> None:
    for team in _made:
        team.abandon()


os.register_at_fork(after_in_child=_after_fork)
