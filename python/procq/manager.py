"""procq inside a program of yours: workers that live and die with it.

with procq.Manager() as manager:
    manager.add("emails", ["celery", "-A", "shop", "worker", "-Q", "emails"], workers=2)
    manager.scale("emails", 4)
    for worker in manager.status():
        print(worker.id, worker.state, worker.pid)

The program takes the place of the control plane; a keeper, a process of its own, holds the workers. When the manager is
closed, or the program dies in any way, the keeper stops every worker as its stop policy says, and leaves.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from procq import core, intent, targets
from procq.engine.blob import TooLarge
from procq.engine.local import LocalKeeper
from procq.engine.loop import Engine
from procq.engine.port import ShutDown
from procq.engine.thread import EngineGone, EngineThread
from procq.errors import ProcqError
from procq.events import Event
from procq.history import History
from procq.intent import Intent
from procq.lives import Lives
from procq.manifest import load
from procq.meter import Load, Meter
from procq.model import MAX_WORKERS, Manifest, Queue, RestartPolicy, StopPolicy, WorkerId
from procq.names import NAME_RULE, is_name
from procq.views import About, worker_view
from procq.wire import WorkerView

__all__ = ["Manager", "ManagerClosed", "StillRunning"]

T = TypeVar("T")
Targets = tuple[targets.Target, ...]
_GONE = {"stopped", "finished", "failed"}
_made: weakref.WeakSet[Manager] = weakref.WeakSet()


class ManagerClosed(ProcqError):
    """The manager was closed, or its keeper is gone."""


class StillRunning(ProcqError):
    """Workers had not left in time. `workers` are their ids; their grace period goes on, and then they are killed."""

    def __init__(self, workers: Sequence[str]) -> None:
        super().__init__(f"still running: {', '.join(workers)}", hint="Shorten their grace period, or wait longer.")
        self.workers = tuple(workers)


class Manager:
    """Runs queues of workers. Every method may be called from every thread; none blocks but those that say so.

    `manifest` is a file, or nothing for queues that `add` brings. `output` shows what the workers write on standard
    output, one name in front of each line. A child that the program forks has no manager: there, everything raises
    ManagerClosed.
    """

    def __init__(self, manifest: str | os.PathLike[str] | None = None, *, output: bool = True) -> None:
        """Starts the keeper, and the workers of `manifest`.

        Raises ManifestError where that does not load, TooLarge where it is more than a keeper holds.
        """
        first = Manifest("manager", {}, os.getcwd()) if manifest is None else load(Path(manifest), os.environ)
        link, self._keeper = core.start_owned(core.Hosting(environ=dict(os.environ), prefix=output))
        self._port = LocalKeeper(link, os.environb)
        self._engine = Engine(self._port, time.monotonic)
        try:
            self._engine.adopt(first, "the manager was made")
        except TooLarge:
            self._port.close()
            self._keeper.wait()
            raise
        self._history = History()
        self._lives = Lives()
        self._meter = Meter(core.usage)
        self._engine.subscribe(self._record)
        self._thread = EngineThread(self._engine, self._port)
        _made.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- queues -------------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        command: Sequence[str],
        *,
        workers: int = 1,
        directory: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stop: StopPolicy | None = None,
        restart: RestartPolicy | None = None,
    ) -> None:
        """Adds a queue, or replaces the one of that name; workers that stay the same are not touched.

        `command` is an argument vector, `directory` this process's own by default, `env` what is added to its
        environment. Raises ValueError for a queue that cannot be, TypeError for a command that is not a list.
        """
        if isinstance(command, str):
            raise TypeError("a command is a list of words, as in ['rq', 'worker', 'emails']")
        queue = Queue(
            name=name,
            command=shlex.join(command),
            argv=tuple(command),
            workers=workers,
            directory=os.path.abspath(directory or os.curdir),
            env=dict(env or {}),
            stop=stop or StopPolicy(),
            restart=restart or RestartPolicy(),
        )
        _check(queue)

        def with_it(queues: Mapping[str, Queue]) -> Mapping[str, Queue]:
            _check_neighbours(name, queues)
            return {**queues, name: queue}

        self._alter_queues(with_it, f"{name} added")

    def remove(self, name: str) -> None:
        """Takes a queue away; its workers leave. Raises KeyError where there is none of that name."""

        def without(queues: Mapping[str, Queue]) -> Mapping[str, Queue]:
            if name not in queues:
                raise KeyError(name)
            return {other: queue for other, queue in queues.items() if other != name}

        self._alter_queues(without, f"{name} removed")

    def scale(self, queue: str, workers: int) -> None:
        """Changes how many workers a queue has. Raises KeyError for no such queue, ValueError for no such number."""
        how = intent.ScaleTo(workers)
        self._call(lambda: self._engine.change(lambda wanted: intent.scale(wanted, queue, how), f"{queue} scaled"))

    def start(self, *names: str) -> None:
        """Starts what `stop` stopped, and tries again what gave up. Queues, `queue.3`, or patterns; all without."""
        self._about(names, lambda wanted, found: intent.start(wanted, found, self._engine.now), "started")

    def stop(self, *names: str) -> None:
        """Stops workers until they are started again."""
        self._about(names, intent.stop, "stopped")

    def restart(self, *names: str) -> None:
        """Replaces the workers that run."""
        self._about(
            names, lambda wanted, found: intent.restart(wanted, found, self._engine.last_generation), "restarted"
        )

    def status(self, *names: str) -> list[WorkerView]:
        """The workers of `names`, all without, with what they use of the machine."""
        queues = self._call(lambda: self._engine.snapshot().observed.queues)
        # Measured in the caller's thread: the other one must not wait.
        loads = self._meter.measure(queues, self._engine.now)
        return self._call(lambda: self._status(names or ("*",), loads))

    def wait_until_running(self, timeout: float | None = None) -> bool:
        """Blocks until every worker that is wanted runs; False when some do not after `timeout` seconds."""
        return self._wait(self._in_state({"running", "stopped", "finished"}), timeout)

    def stop_all(self, timeout: float | None = None) -> None:
        """Stops every worker and blocks until all are gone. Raises StillRunning after `timeout` seconds."""
        self.stop()
        if not self._wait(self._in_state(_GONE), timeout):
            raise StillRunning([worker.id for worker in self.status() if worker.state not in _GONE])

    def close(self) -> None:
        """Stops every worker, then the keeper, and blocks until both are gone. Closing twice does nothing."""
        with contextlib.suppress(EngineGone):
            self._thread.call(lambda: self._engine.send(ShutDown("the manager was closed")))
        self._thread.join()
        self._port.close()
        self._keeper.wait()

    def _status(self, names: Sequence[str], loads: Mapping[WorkerId, Load]) -> list[WorkerView]:
        view, now = self._engine.snapshot(), self._engine.now
        about = About(loads, self._history.last_exits, self._history.restarts)
        found = []
        for worker in targets.workers(view, targets.resolve(view, names)):
            desired = intent.desired_queue(view.intent, worker.queue) if view.intent else None
            found.append(worker_view(worker, desired, view.worker(worker), now, about))
        return found

    def _in_state(self, states: set[str]) -> Callable[[], bool]:
        return lambda: all(worker.state in states for worker in self._status(("*",), {}))

    def _about(self, names: Sequence[str], change: Callable[[Intent, Targets], Intent], done: str) -> None:
        def act() -> None:
            found = targets.resolve(self._engine.snapshot(), names or ("*",), wanted_only=True)
            self._engine.change(lambda wanted: change(wanted, found), f"{', '.join(names) or 'everything'} {done}")

        self._call(act)

    def _alter_queues(self, alter: Callable[[Mapping[str, Queue]], Mapping[str, Queue]], reason: str) -> None:
        def act() -> None:
            assert self._engine.intent is not None
            before = self._engine.intent.manifest
            self._engine.adopt(Manifest(before.name, alter(before.queues), before.directory), reason)

        self._call(act)

    def _call(self, act: Callable[[], T]) -> T:
        try:
            return self._thread.call(act)
        except EngineGone as error:
            raise ManagerClosed("the manager is closed: its keeper is gone") from error

    def _wait(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        try:
            return self._thread.wait(holds, timeout)
        except EngineGone as error:
            raise ManagerClosed("the manager is closed: its keeper is gone") from error

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            self._history.record(event, self._lives.look(event))

    def _abandon(self) -> None:
        """In a forked child: the conversation is the parent's alone, and must end with it."""
        self._thread.abandon()
        self._port.close()


def _check(queue: Queue) -> None:
    if not is_name(queue.name):
        raise ValueError(f'"{queue.name}" is not the name of a queue: {NAME_RULE}')
    if not queue.argv or not queue.argv[0]:
        raise ValueError("the command names no program")
    if not 0 <= queue.workers <= MAX_WORKERS:
        raise ValueError(f"a queue has between 0 and {MAX_WORKERS} workers, not {queue.workers}")
    texts = (*queue.argv, queue.directory, *queue.env, *queue.env.values())
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"commands, paths and environments are text, not {type(text).__name__}")
        if "\0" in text:
            raise ValueError("the character NUL cannot be given to a program")
    for variable in queue.env:
        if not variable or "=" in variable:
            raise ValueError(f'"{variable}" is not the name of a variable')


def _check_neighbours(name: str, queues: Mapping[str, Queue]) -> None:
    """A queue must not be called like a worker of another one."""
    for one, other in [(name, queue) for queue in queues] + [(queue, name) for queue in queues]:
        owner, _, slot = one.rpartition(".")
        if owner == other and slot.isdecimal():
            raise ValueError(f'"{one}" is also worker {slot} of the queue {owner}')


def _after_fork() -> None:
    for manager in _made:
        manager._abandon()


os.register_at_fork(after_in_child=_after_fork)
