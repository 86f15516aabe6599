"""What a manager does, once for both of its faces: engine, keeper and memory, in one asyncio loop.

Nothing here blocks; what takes time is a coroutine. `sync` puts it into a loop on a thread of its own, `aio` into the
loop of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Final

from procq import core, intent, targets
from procq.endings import Outcome, Refusal, SpawnFailure
from procq.engine.blob import TooLarge
from procq.engine.driver import Driver
from procq.engine.local import LocalKeeper
from procq.engine.loop import Engine
from procq.engine.port import ShutDown
from procq.events import Event, Exited, Refused, SpawnFailed
from procq.history import History
from procq.intent import Intent
from procq.lives import Lives
from procq.manager.errors import ManagerClosed, NoSuchQueue, NotStarted, StillRunning
from procq.manager.lines import Line
from procq.manager.options import check_neighbours
from procq.manager.reading import Outputs
from procq.meter import NO_LIMIT, Load, Meter
from procq.model import Manifest, Queue, WorkerId
from procq.plan.crew import is_wanted
from procq.state import QueueState, Running, Starting, Stopping
from procq.views import About, worker_view
from procq.wire import WorkerView

GONE: Final = "gone"
"""State of a worker that is neither wanted nor there."""
_AT_REST: Final = frozenset({"stopped", "finished", "failed", GONE})
_AS_WANTED: Final = frozenset({"running", "stopped", "finished"})
_ODD: Final = re.compile("[^A-Za-z0-9_-]+")
_MOST_ENDS: Final = 10_000
_NO_LOADS: Final[Mapping[WorkerId, Load]] = {}

Targets = tuple[targets.Target, ...]


class Team:
    """The queues of one manager. Everything is called in the loop that runs `run`."""

    def __init__(self, first: Manifest, *, output: bool) -> None:
        """Starts the keeper. Raises TooLarge for a manifest that is more than a keeper holds."""
        self._outputs = Outputs()
        with self._outputs.listener as listener:
            hosting = core.Hosting(environ=dict(os.environ), keeper_fd=listener.fileno())
            link, self.keeper = core.start_owned(hosting, quiet=not output)
        self._port = LocalKeeper(link, os.environb)
        self._engine = Engine(self._port, time.monotonic)
        try:
            self._engine.adopt(first, "the manager was made")
        except TooLarge:
            self._port.close()
            self.keeper.wait()
            raise
        self._driver = Driver(self._engine, self._port)
        self._history, self._lives = History(), Lives()
        self.meter = Meter(core.usage)
        self._ends: dict[WorkerId, Outcome] = {}
        self._news: set[asyncio.Event] = set()
        self._over = asyncio.Event()
        self._failure: BaseException | None = None
        self._engine.subscribe(self._record)

    # --- its life -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until the keeper has hung up. Cancelled, it hangs up itself: the keeper stops everything, and leaves."""
        try:
            await self._driver.run()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._over.set()
            self._port.close()
            self._wake()

    async def close(self) -> None:
        """Stops every worker, then the keeper; returns once it has hung up."""
        if not self._over.is_set():
            self._engine.send(ShutDown("the manager was closed"))
        await self._over.wait()

    async def reap(self) -> None:
        """Returns once the keeper's process has ended."""
        if self.keeper.poll() is not None:
            return
        ended = asyncio.Event()
        process = os.pidfd_open(self.keeper.pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(process, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(process)
            os.close(process)
        self.keeper.wait()

    def abandon(self) -> None:
        """In a forked child: the conversation is the parent's alone, and must end with it."""
        self._over.set()
        self._port.close()
        self._outputs.abandon()

    # --- queues -------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether there is a queue of that name."""
        return name in self._queues

    def free_name(self, command: Sequence[str]) -> str:
        """A name for a queue that runs `command`: that of the program, and a number where it is taken."""
        base = _ODD.sub("-", os.path.basename(command[0])).strip("-_")[:50] or "worker"
        return next(name for n in count(1) if not self.has(name := base if n == 1 else f"{base}-{n}"))

    def add(self, queue: Queue) -> None:
        """Adds or replaces one. Raises ValueError for a name that means something else already."""
        check_neighbours(queue.name, self._queues)
        self._adopt({**self._queues, queue.name: queue}, f"{queue.name} added")

    def remove(self, name: str) -> None:
        """Takes one away. Raises NoSuchQueue."""
        if not self.has(name):
            raise NoSuchQueue(f'there is no queue "{name}" to remove', hint=self._named())
        self._adopt({other: queue for other, queue in self._queues.items() if other != name}, f"{name} removed")

    def scale(self, name: str, workers: int, found: Queue | None = None) -> None:
        """Changes how many workers a queue has; adds `found` where there is none. Raises NoSuchQueue, ValueError."""
        if self.has(name):
            queues = self._queues
        elif found is not None:
            queues = {**self._queues, name: found}
        else:
            raise NoSuchQueue(f'there is no queue "{name}"', hint=f"`add` makes one. {self._named()}")
        how, manifest = intent.ScaleTo(workers), self._manifest(queues)
        self._change(lambda wanted: intent.scale(intent.adopt(wanted, manifest), name, how), f"{name} scaled")

    # --- workers ------------------------------------------------------------------------------------------------

    def start(self, names: Sequence[str]) -> None:
        """Starts what was stopped, or rests."""
        self._about(names, lambda wanted, found: intent.start(wanted, found, self._engine.now), "started")

    def stop(self, names: Sequence[str]) -> None:
        """Stops workers until they are started again."""
        self._about(names, intent.stop, "stopped")

    def restart(self, names: Sequence[str], rolling: bool) -> None:
        """Replaces the workers that run, at once or in batches."""

        def change(wanted: Intent, found: Targets) -> Intent:
            return intent.restart(wanted, found, self._engine.last_generation, rolling)

        self._about(names, change, "restarted")

    def workers(self, names: Sequence[str] = ()) -> list[WorkerId]:
        """Who is meant by `names`, all without. Raises NoSuchTarget."""
        self._check()
        view = self._engine.snapshot()
        return targets.workers(view, targets.resolve(view, names or ("*",)))

    def views(self, names: Sequence[str] = (), loads: Mapping[WorkerId, Load] = _NO_LOADS) -> list[WorkerView]:
        """What is to be said of them."""
        workers = self.workers(names)
        view, now, about = self._engine.snapshot(), self._engine.now, self._about_workers(loads)
        desired = {name: self._desired(name) for name in {worker.queue for worker in workers}}
        return [worker_view(each, desired[each.queue], view.queue(each.queue), now, about) for each in workers]

    def view(self, worker: WorkerId, loads: Mapping[WorkerId, Load] = _NO_LOADS) -> WorkerView:
        """One worker, also one that is not there any more."""
        self._check()
        desired, observed = self._desired(worker.queue), self._engine.snapshot().queue(worker.queue)
        if worker.slot not in observed.workers and not is_wanted(desired, observed, worker.slot):
            return WorkerView(str(worker), worker.queue, worker.slot, GONE)
        return worker_view(worker, desired, observed, self._engine.now, self._about_workers(loads))

    @property
    def now(self) -> float:
        """Seconds on the engine's clock."""
        return self._engine.now

    @staticmethod
    def memory(pid: int) -> int:
        """Resident bytes of the tree below a process. Takes milliseconds: not for a loop."""
        ((_, memory, _, _),) = core.usage([(pid, NO_LIMIT)])
        return memory

    def observed(self) -> Mapping[str, QueueState]:
        """What runs, for `meter`."""
        self._check()
        return self._engine.snapshot().observed.queues

    def exit(self, worker: WorkerId) -> Outcome | None:
        """How its last life ended; None while it has not ended yet."""
        return self._ends.get(worker)

    def at_rest(self, worker: WorkerId) -> bool:
        """Nothing of it lives, and nothing will take its place by itself."""
        return self._over.is_set() or self.view(worker).state in _AT_REST

    # --- what takes time ----------------------------------------------------------------------------------------

    async def until(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Returns once `holds`, looked at after everything that happens; False after `timeout` seconds."""
        news = asyncio.Event()
        self._news.add(news)
        try:
            async with asyncio.timeout(timeout):
                while not holds():
                    await news.wait()
                    news.clear()
        except TimeoutError:
            return False
        finally:
            self._news.discard(news)
        return True

    async def until_running(self, timeout: float | None, *names: str) -> bool:
        """Until every worker that is wanted runs."""
        return await self.until(lambda: all(view.state in _AS_WANTED for view in self.views(names)), timeout)

    async def stop_all(self, timeout: float | None) -> None:
        """Stops every worker. Raises StillRunning after `timeout` seconds."""
        self.stop(())
        if not await self.until(lambda: not self._left(), timeout):
            raise StillRunning(self._left())

    async def stop_one(self, worker: WorkerId, timeout: float | None) -> None:
        """Stops one. Raises StillRunning after `timeout` seconds."""
        if self.view(worker).state != GONE:
            self.stop([str(worker)])
        if not await self.until(lambda: self.at_rest(worker), timeout):
            raise StillRunning([str(worker)])

    async def wait(self, worker: WorkerId, timeout: float | None) -> Outcome | None:
        """Until it is at rest: how it ended. Raises TimeoutError after `timeout` seconds."""
        self._check()
        if not await self.until(lambda: self.at_rest(worker), timeout):
            raise TimeoutError(f"{worker} has not ended after {timeout:g} s")
        if isinstance(self._engine.snapshot().worker(worker), Starting | Running | Stopping):
            # The keeper went away without having told of an end: nobody knows any more.
            self._check()
        return self.exit(worker)

    async def spawn(self, queue: Queue) -> WorkerId:
        """Adds a queue and returns its first worker once that executes. Raises NotStarted where it cannot."""
        if self.has(queue.name):
            raise ValueError(f'there is a queue "{queue.name}" already; leave the name out, or choose another one')
        worker = WorkerId(queue.name, 1)
        self._ends.pop(worker, None)
        self.add(queue)
        try:
            await self.until(lambda: self._began(worker), None)
        except BaseException:
            self._forget(worker)
            raise
        outcome = self.exit(worker)
        if isinstance(outcome, SpawnFailure | Refusal):
            self._forget(worker)
            await self.until(lambda: self.view(worker).state == GONE, None)
            raise NotStarted(f"{queue.argv[0]} did not start: {outcome}")
        return worker

    async def output(self, worker: WorkerId, lines: int, follow: bool) -> AsyncGenerator[list[Line], None]:
        """What it wrote, and with `follow` what it writes until it is at rest; in batches."""
        self._check()

        def wakes(news: asyncio.Event) -> Callable[[], None]:
            self._news.add(news)
            return lambda: self._news.discard(news)

        reading = self._outputs.read(str(worker), lines, follow, lambda: self.at_rest(worker), wakes)
        async with contextlib.aclosing(reading) as batches:
            async for batch in batches:
                yield batch

    # --- inside -------------------------------------------------------------------------------------------------

    @property
    def _queues(self) -> Mapping[str, Queue]:
        self._check()
        assert self._engine.intent is not None
        return self._engine.intent.manifest.queues

    def _desired(self, name: str) -> intent.DesiredQueue | None:
        return intent.desired_queue(self._engine.intent, name) if self._engine.intent else None

    def _about_workers(self, loads: Mapping[WorkerId, Load]) -> About:
        return About(loads, self._history.last_exits, self._history.restarts)

    def _named(self) -> str:
        names = list(self._queues)
        return f"Queues are: {', '.join(names[:20])}." if names else "There are no queues yet."

    def _manifest(self, queues: Mapping[str, Queue]) -> Manifest:
        assert self._engine.intent is not None
        return replace(self._engine.intent.manifest, queues=queues)

    def _adopt(self, queues: Mapping[str, Queue], reason: str) -> None:
        self._check()
        self._engine.adopt(self._manifest(queues), reason)
        self._act()

    def _change(self, change: Callable[[Intent], Intent], reason: str) -> None:
        self._check()
        self._engine.change(change, reason)
        self._act()

    def _about(self, names: Sequence[str], change: Callable[[Intent, Targets], Intent], done: str) -> None:
        self._check()
        found = targets.resolve(self._engine.snapshot(), names or ("*",), wanted_only=True)
        self._change(lambda wanted: change(wanted, found), f"{', '.join(names) or 'everything'} {done}")

    def _act(self) -> None:
        """At once, so that whoever asks next is told of what follows from the change."""
        # The driver finds out by itself that the keeper is gone.
        with contextlib.suppress(ConnectionError):
            self._engine.step()

    def _check(self) -> None:
        if self._over.is_set():
            raise ManagerClosed("the manager is closed: its keeper is gone") from self._failure

    def _left(self) -> list[str]:
        return [view.id for view in self.views() if view.state not in _AT_REST]

    def _began(self, worker: WorkerId) -> bool:
        self._check()
        state = self._engine.snapshot().worker(worker)
        return isinstance(state, Running) or worker in self._ends

    def _forget(self, worker: WorkerId) -> None:
        with contextlib.suppress(ManagerClosed, NoSuchQueue):
            self.remove(worker.queue)

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            self._history.record(event, self._lives.look(event))
            match event:
                case Exited(worker=worker, status=outcome) | SpawnFailed(worker=worker, failure=outcome):
                    self._note(worker, outcome)
                case Refused(worker=worker, why=why):
                    self._note(worker, Refusal(why))
        self._wake()

    def _note(self, worker: WorkerId, outcome: Outcome) -> None:
        self._ends.pop(worker, None)
        self._ends[worker] = outcome
        if len(self._ends) > _MOST_ENDS:
            self._ends.pop(next(iter(self._ends)))

    def _wake(self) -> None:
        for news in self._news:
            news.set()
