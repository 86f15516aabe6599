"""The manager for programs with threads, or without: every method may be called from every thread."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from procq.endings import Outcome
from procq.manager.errors import ManagerClosed
from procq.manager.factory import WorkerFactory
from procq.manager.lines import Line
from procq.manager.options import Changes, WorkerOptions, options_of
from procq.manager.reading import check_lines
from procq.manager.sources import find, first
from procq.manager.team import Team
from procq.manager.thread import LoopThread
from procq.model import WorkerId
from procq.wire import WorkerView

T = TypeVar("T")

_made: weakref.WeakSet[Manager] = weakref.WeakSet()


class Manager:
    """Runs queues of workers. Every method may be called from every thread; none blocks but those that say so.

    Workers live and die with the program: when the manager is closed, or the program ends in any way, each is stopped
    as its stop policy says. A child that the program forks has no manager: there, everything raises ManagerClosed,
    as it does here once the manager is closed.
    """

    def __init__(
        self,
        manifest: str | os.PathLike[str] | None = None,
        *,
        factory: WorkerFactory | None = None,
        output: bool = True,
    ) -> None:
        """Starts the keeper, and the workers of `manifest`: a file, or nothing for queues that come later.

        `factory` makes the queues that are scaled without having been added. `output`: what workers write is shown on
        standard output, a name in front of each line. Raises ManifestError where the file does not load, TooLarge
        where it is more than a keeper holds.
        """
        self._factory = factory
        self._team = Team(first(manifest), output=output)
        self._thread = LoopThread(self._team.run())
        _made.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- queues -------------------------------------------------------------------------------------------------

    def add(self, name: str, command: Sequence[str] | WorkerOptions, **options: Unpack[Changes]) -> None:
        """Adds a queue, or replaces the one of that name; workers that stay the same are not touched.

        `command` is an argument vector, and `options` are fields of `WorkerOptions`; or `command` is a whole
        `WorkerOptions`, in which `options` change something. Raises ValueError for a queue that cannot be, TypeError
        for a command that is not a list.
        """
        queue = options_of(command, options).queue(name)
        self._call(lambda: self._team.add(queue))

    def remove(self, name: str) -> None:
        """Takes a queue away; its workers leave. Raises NoSuchQueue (a KeyError) where there is none of that name."""
        self._call(lambda: self._team.remove(name))

    def scale(self, queue: str, workers: int) -> None:
        """Changes how many workers a queue has.

        A queue that is not there yet is made by the manager's `factory`; without one it is taken from the manifest in
        the current directory. Raises NoSuchQueue (a KeyError) where neither knows it, ValueError for no such number.
        """
        found = None if self._call(lambda: self._team.has(queue)) else find(queue, self._factory)
        self._call(lambda: self._team.scale(queue, workers, found))

    def start(self, *names: str) -> None:
        """Starts what `stop` stopped, and tries again what gave up.

        `names` are queues, workers (`queue.3`), or patterns over either; none is all. Raises NoSuchTarget.
        """
        self._call(lambda: self._team.start(names))

    def stop(self, *names: str) -> None:
        """Stops workers until they are started again. Raises NoSuchTarget."""
        self._call(lambda: self._team.stop(names))

    def restart(self, *names: str, rolling: bool = False) -> None:
        """Replaces the workers that run: all at once, or `rolling`, in the batches of `update`. Raises NoSuchTarget."""
        self._call(lambda: self._team.restart(names, rolling))

    def status(self, *names: str) -> list[WorkerView]:
        """The workers of `names`, all without, with what they use of the machine. Raises NoSuchTarget."""
        # Measured in the caller's thread: the other one must not wait.
        loads = self._team.meter.measure(self._call(self._team.observed), self._team.now)
        return self._call(lambda: self._team.views(names, loads))

    def wait_until_running(self, timeout: float | None = None) -> bool:
        """Blocks until every worker that is wanted runs; False when some do not after `timeout` seconds."""
        return self._run(self._team.until_running(timeout))

    def stop_all(self, timeout: float | None = None) -> None:
        """Stops every worker and blocks until all are gone. Raises StillRunning after `timeout` seconds."""
        self._run(self._team.stop_all(timeout))

    def close(self) -> None:
        """Stops every worker, then the keeper, and blocks until both are gone. Closing twice does nothing."""
        with contextlib.suppress(ManagerClosed):
            self._run(self._team.close())
        self._thread.join()
        self._team.keeper.wait()

    # --- single workers -----------------------------------------------------------------------------------------

    def spawn(
        self, command: Sequence[str] | WorkerOptions, *, name: str | None = None, **options: Unpack[Changes]
    ) -> WorkerProcess:
        """Runs a single worker, and blocks until it executes: a queue of its own, called `name` or like the program.

        `command` and `options` are those of `add`. Raises NotStarted where it cannot be executed, ValueError where
        there is a queue of that name already.
        """
        chosen = options_of(command, options).replace(workers=1)
        called = name if name is not None else self._call(lambda: self._team.free_name(chosen.command))
        return WorkerProcess(self, self._run(self._team.spawn(chosen.queue(called))))

    def worker(self, id: str) -> WorkerProcess:
        """One worker, as `emails.1`. Raises NoSuchTarget where there is none."""
        (found,) = self.workers(str(WorkerId.parse(id)))
        return found

    def workers(self, *names: str) -> list[WorkerProcess]:
        """The workers of `names`: queues, workers, or patterns; all without. Raises NoSuchTarget."""
        return [WorkerProcess(self, worker) for worker in self._call(lambda: self._team.workers(names))]

    # --- inside -------------------------------------------------------------------------------------------------

    def _call(self, act: Callable[[], T]) -> T:
        return self._thread.call(act)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(work)

    def _abandon(self) -> None:
        self._thread.abandon()
        self._team.abandon()


class WorkerProcess:
    """One worker of a manager: a slot of a queue, whatever process is in it at the moment.

    Everything raises ManagerClosed once the manager is closed.
    """

    def __init__(self, manager: Manager, worker: WorkerId) -> None:
        self._manager = manager
        self._team = manager._team
        self._worker = worker

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.id}>"

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
        return self._manager._call(lambda: self._team.exit(self._worker))

    def is_running(self) -> bool:
        """Whether its program executes and was not asked to leave."""
        return self.state == "running"

    def status(self) -> WorkerView:
        """All that is known about it, but for what it uses of the machine: see `memory_usage`."""
        return self._manager._call(lambda: self._team.view(self._worker))

    def memory_usage(self) -> int:
        """Resident bytes of its process tree, shared pages counted for each process; 0 while nothing runs."""
        pid = self.pid
        return 0 if pid is None else self._team.memory(pid)

    def start(self) -> None:
        """Starts it after `stop`, or after it gave up. Raises NoSuchTarget when it is gone."""
        self._manager.start(self.id)

    def restart(self) -> None:
        """Replaces its process. Raises NoSuchTarget when it is gone."""
        self._manager.restart(self.id)

    def stop(self, timeout: float | None = None) -> None:
        """Asks it to leave and blocks until it has left; it stays stopped until `start`.

        After its grace period it is killed. Raises StillRunning when it is there after `timeout` seconds.
        """
        self._manager._run(self._team.stop_one(self._worker, timeout))

    def wait_until_running(self, timeout: float | None = None) -> bool:
        """Blocks until it runs, or rests because that was wanted; False when it does not after `timeout` seconds."""
        return self._manager._run(self._team.until_running(timeout, self.id))

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """Blocks until it has ended and nothing takes its place by itself; returns how it ended, as `exit`.

        Raises TimeoutError after `timeout` seconds.
        """
        return self._manager._run(self._team.wait(self._worker, timeout))

    def output(self, lines: int = 1000, *, follow: bool = False) -> Iterator[Line]:
        """The last `lines` it wrote, as far as they are in memory (at least 4 KiB of them), the oldest first.

        With `follow`, then what it writes next, blocking, until it has ended and nothing takes its place by itself.
        """
        check_lines(lines)
        reading = self._team.output(self._worker, lines, follow)

        async def following() -> list[Line] | None:
            return await anext(reading, None)

        began = False
        try:
            while (batch := self._manager._run(following())) is not None:
                began = True
                yield from batch
        except ManagerClosed as closed:
            # It was closed between two batches: then it ends as one does that is waiting for the next.
            if not began or closed.__cause__ is not None:
                raise
        finally:
            with contextlib.suppress(ManagerClosed):
                self._manager._run(_close(reading))


async def _close(reading: AsyncGenerator[Any, None]) -> None:
    await reading.aclose()


def _after_fork() -> None:
    for manager in _made:
        manager._abandon()


os.register_at_fork(after_in_child=_after_fork)
