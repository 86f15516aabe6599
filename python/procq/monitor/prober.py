"""Asks workers: those that are to become ready whether they are, ready ones whether they are well.

Each worker that has to be asked is followed by a task of its own, for one generation: an answer that comes late is
about that one and no other, and no question is asked while the one before is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from procq.endings import Doom, ExitStatus, SpawnFailure
from procq.engine.loop import Engine
from procq.engine.view import StateView
from procq.errors import printable
from procq.events import (
    BecameReady,
    Condemned,
    Event,
    IntentChanged,
    LogProblem,
    Probed,
    Reported,
    ShuttingDown,
    Snapshot,
)
from procq.intent import DesiredQueue, NoIntent, desired_queue
from procq.model import CommandCheck, Health, HealthCheck, HttpCheck, TcpCheck, WorkerId
from procq.monitor.answers import Answer, ask
from procq.monitor.rounds import FIRST_WAIT, Row, longer, next_turn
from procq.plan.readiness import expected, health_of
from procq.plan.wording import duration
from procq.state import Running
from procq.text import count

_SOCKETS: Final = 128
_COMMANDS: Final = 8
"""Questions that are open at the same time."""
_READY_TIMEOUT: Final = 5.0
"""Seconds for one question whether a worker is ready."""
_LATE: Final = 10.0
"""Seconds after its time that a command may stay without news of its end."""
_MOST_OUTPUT: Final = 200
"""Characters of a command's last line that are told."""


Ask = Callable[[TcpCheck | HttpCheck, WorkerId, float], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class _Await:
    """To be asked until it is ready."""

    check: TcpCheck | HttpCheck


_Todo = _Await | Health


@dataclass(slots=True, eq=False)
class _Watch:
    """One generation that is followed; `changed` says that `todo` may be another one."""

    worker: WorkerId
    generation: int
    todo: _Todo
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    told: str = ""


class Prober:
    """Finds out who is ready, and who is not well any more, and tells the engine.

    `note` is told, once each, why a question about a worker says nothing of it. `ask` asks over a socket.
    """

    def __init__(
        self,
        engine: Engine,
        note: Callable[[WorkerId, str], None] = lambda worker, text: None,
        *,
        ask: Ask = ask,
        sockets: int = _SOCKETS,
        commands: int = _COMMANDS,
    ) -> None:
        self._engine = engine
        self._note = note
        self._ask_worker = ask
        self._sockets = asyncio.Semaphore(sockets)
        self._commands = asyncio.Semaphore(commands)
        self._watches: dict[str, dict[int, _Watch]] = {}
        self._asked: frozenset[str] = frozenset()
        self._dirty: set[str] = set()
        self._all = True
        self._work = asyncio.Event()
        self._probes: dict[int, asyncio.Future[Probed]] = {}

    async def run(self) -> None:
        """Runs until it is cancelled."""
        unsubscribe = self._engine.subscribe(self._happened)
        self._work.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._work.wait()
                    self._work.clear()
                    self._renew(tasks)
        finally:
            unsubscribe()

    # --- who is followed ----------------------------------------------------------------------------------------

    def _happened(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Probed(generation=generation):
                    probe = self._probes.get(generation)
                    if probe is not None and not probe.done():
                        probe.set_result(event)
                case IntentChanged() | Snapshot() | ShuttingDown():
                    self._all = True
                case Reported() | LogProblem():
                    pass
                case _ if (worker := getattr(event, "worker", None)) is not None and worker.queue in self._asked:
                    self._dirty.add(worker.queue)
        if self._all or self._dirty:
            self._work.set()

    def _renew(self, tasks: asyncio.TaskGroup) -> None:
        """Follows whoever has to be asked by now, and nobody else."""
        view = self._engine.snapshot()
        if self._all:
            self._asked = _asked(view)
        names = {*self._asked, *self._watches} if self._all else self._dirty & {*self._asked, *self._watches}
        self._all, self._dirty = False, set()
        for name in names:
            todo = {} if self._engine.shutting_down else _todo(view, name)
            watches = self._watches.setdefault(name, {})
            for slot, watch in list(watches.items()):
                if slot not in todo or todo[slot][0] != watch.generation:
                    del watches[slot]
                    assert watch.task is not None
                    watch.task.cancel()
            for slot, (generation, what) in todo.items():
                self._follow(watches, WorkerId(name, slot), generation, what, tasks)
            if not watches:
                del self._watches[name]

    def _follow(
        self, watches: dict[int, _Watch], worker: WorkerId, generation: int, todo: _Todo, tasks: asyncio.TaskGroup
    ) -> None:
        watch = watches.get(worker.slot)
        if watch is None:
            watch = watches[worker.slot] = _Watch(worker, generation, todo)
            watch.task = tasks.create_task(self._look_after(watch))
        elif watch.todo != todo:
            watch.todo = todo
            watch.changed.set()

    # --- one of them --------------------------------------------------------------------------------------------

    async def _look_after(self, watch: _Watch) -> None:
        wait, row, last, before = FIRST_WAIT, Row(), self._engine.now, watch.todo
        while True:
            match watch.todo:
                case _Await(check):
                    answer = await self._ask(watch, check, _READY_TIMEOUT)
                    if answer.good and watch.todo == _Await(check):
                        self._is_ready(watch)
                        await watch.changed.wait()
                    await _pause(watch, wait)
                    wait, last = longer(wait), self._engine.now
                case Health() as health:
                    if health != before:
                        row.clear()
                    before = health
                    turn = next_turn(watch.worker, health.every, last)
                    if not await _pause(watch, turn - self._engine.now):
                        continue
                    answer = await self._ask(watch, health.check, health.timeout)
                    # A turn that passes meanwhile is left out; one that came a little early is not taken twice.
                    last = max(turn, self._engine.now)
                    bad = row.add(answer.good, health.failures)
                    if bad:
                        self._condemn(watch, answer, bad)
                        row.clear()

    def _is_ready(self, watch: _Watch) -> None:
        found = BecameReady(watch.worker, watch.generation, self._engine.now, by_keeper=False)
        self._engine.handle([found])

    def _condemn(self, watch: _Watch, answer: Answer, bad: int) -> None:
        detail = f"{answer.text}, {count(bad, 'time')} in a row" if bad > 1 else answer.text
        found = Condemned(watch.worker, watch.generation, Doom.UNHEALTHY, detail, self._engine.now)
        self._engine.handle([found])

    # --- one question -------------------------------------------------------------------------------------------

    async def _ask(self, watch: _Watch, check: HealthCheck, timeout: float) -> Answer:
        match check:
            case TcpCheck() | HttpCheck():
                async with self._sockets:
                    answer = await self._ask_worker(check, watch.worker, timeout)
            case CommandCheck():
                async with self._commands:
                    answer = await self._run(watch.worker, check, timeout)
        if answer.good is None and answer.text != watch.told:
            watch.told = answer.text
            self._note(watch.worker, answer.text)
        return answer

    async def _run(self, worker: WorkerId, check: CommandCheck, timeout: float) -> Answer:
        try:
            generation = self._engine.probe(worker, check.argv, timeout)
        except (KeyError, NoIntent):
            return Answer(None, "its queue is gone")
        probe = self._probes[generation] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout + _LATE):
                return _told_by(await probe, check, timeout)
        except TimeoutError:
            return Answer(None, f"nothing was heard of the end of `{check.command}`")
        finally:
            del self._probes[generation]


def _told_by(probed: Probed, check: CommandCheck, timeout: float) -> Answer:
    lines = [line for line in probed.output.splitlines() if line.strip()]
    last = f": {printable(lines[-1].strip())[:_MOST_OUTPUT]}" if lines else ""
    match probed.outcome:
        case None:
            return Answer(False, f"`{check.command}` did not end within {duration(timeout)}{last}")
        case ExitStatus() as status:
            return Answer(status.success, f"`{check.command}` ended with {status}{last}")
        case SpawnFailure() as failure:
            # A command that is not there says nothing about a worker that is.
            return Answer(None, f"its health cannot be asked: {failure}")


async def _pause(watch: _Watch, seconds: float) -> bool:
    """Waits; False where there was a change before the time was over."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await watch.changed.wait()
    except TimeoutError:
        return True
    watch.changed.clear()
    return False


def _asked(view: StateView) -> frozenset[str]:
    """The queues that have anything to be asked."""
    if view.intent is None:
        return frozenset()
    queues = view.intent.manifest.queues.values()
    return frozenset(q.name for q in queues if q.health or isinstance(q.ready.check, TcpCheck | HttpCheck))


def _todo(view: StateView, name: str) -> dict[int, tuple[int, _Todo]]:
    """Who of a queue has to be asked what, by slot, with the generation."""
    desired = None if view.intent is None else desired_queue(view.intent, name)
    if desired is None or name not in view.observed.queues:
        return {}
    found: dict[int, tuple[int, _Todo]] = {}
    for slot, state in view.observed.queues[name].workers.items():
        if isinstance(state, Running) and (what := _what(desired, state)) is not None:
            found[slot] = state.generation, what
    return found


def _what(desired: DesiredQueue, state: Running) -> _Todo | None:
    if state.doomed is not None and state.doomed.why.fault:
        return None
    if state.ready is not None:
        return health_of(desired, state)
    readiness = expected(desired, state)
    check = None if readiness is None else readiness.check
    return _Await(check) if isinstance(check, TcpCheck | HttpCheck) else None
