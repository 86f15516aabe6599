"""Telemetry of a control plane, from its first event on; what happened is kept until there is something to send it."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_DNS, uuid5

from procq.engine.loop import Engine
from procq.events import Event, HandOverAsked, ShuttingDown
from procq.history import History
from procq.intent import desired_queue
from procq.plan.rollout import is_outdated
from procq.telemetry.asked import file
from procq.telemetry.config import Config, Signal, Way, read
from procq.telemetry.configured import configured
from procq.telemetry.family import Family, Kind, Point
from procq.telemetry.lane import Lane, Lost
from procq.telemetry.life import boot_id, context_of
from procq.telemetry.logs import record, worker_of
from procq.telemetry.resource import attributes
from procq.telemetry.spans import Span
from procq.telemetry.tracker import Tracker

if TYPE_CHECKING:
    from procq.telemetry.otlp import Answers, Words
    from procq.telemetry.output import Output

Measures = Callable[[], Awaitable[Sequence[Family]]]
Tell = Callable[[str], None]
Lanes = Mapping[Signal, Sequence[Lane[Any]]]
_TOGETHER: Final = 0.2
"""Seconds in which what happens is read from the history at once."""
_LONG: Final = 3_600.0
_LAST: Final = 0.5
"""Seconds for the last records: the keeper waits a second for a control plane that is to leave, and kills."""
_LOOK: Final = 0.01


class Telemetry:
    """Follows the engine at once; `run` sends what it has seen. `tell` hears of trouble, on the loop.

    Without a `config` a file says what is wanted, which is read when somebody has to know. `output` is what workers
    write, where that may have to be sent.
    """

    output: Output | None = None

    def __init__(
        self, config: Config | None, environ: Mapping[str, str], engine: Engine, history: History, tell: Tell
    ) -> None:
        self._config = config
        self._environ = environ
        self._engine = engine
        self._history = history
        self._tell = tell
        self._looking = asyncio.Lock()
        self._early: deque[Span] = deque(maxlen=(config or Config()).early)
        self._too_early = 0
        self._lanes: Lanes = {}
        self._intervals: dict[float, list[Lane[Any]]] = {}
        self._measures: Measures | None = None
        self._broken = self._ending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tracing = config is None or Signal.TRACES in config.ways
        bits, life = SystemRandom().getrandbits, partial(context_of, boot_id())
        self._tracker = Tracker(self._ended, lambda: engine.now, bits, self._replacing, life)
        self._stop_listening = engine.subscribe(self._happened)

    @classmethod
    def of(cls, environ: Mapping[str, str], engine: Engine, history: History, tell: Tell) -> Telemetry | None:
        """What the environment asks for; None where that is nothing."""
        config = None if file(environ) else read(environ)
        return cls(config, environ, engine, history, tell) if config is None or config.on else None

    async def config(self) -> Config:
        """What is asked for, once a file that says so has been read."""
        async with self._looking:
            if self._config is None:
                self._config = await asyncio.to_thread(configured, self._environ)
        return self._config

    # --- what it is told ----------------------------------------------------------------------------------------

    def reloading(self, saved: str, began: float, loaded: float) -> None:
        """A file that was read from `began` to `loaded` is about to be put in force."""
        self._tracker.reloading(saved, began, loaded)

    def refused(self, saved: str, began: float) -> None:
        """A file that was read since `began` is not valid."""
        if self._tracing:
            self._tracker.refused(saved, began)

    def _happened(self, events: Sequence[Event]) -> None:
        try:
            if self._tracing:
                self._tracker.happened(events)
        except Exception as error:
            # A fault here must not end the control loop that it looks at.
            self._tracing = False
            text = f"traces are not sent any more: procq failed to follow events ({type(error).__name__}: {error})"
            asyncio.get_running_loop().call_soon(self._tell, text)
        if any(isinstance(event, ShuttingDown | HandOverAsked) for event in events):
            self._ending = True
            for lane in self._all():
                lane.hurry()

    def _ended(self, span: Span) -> None:
        lanes = self._lanes.get(Signal.TRACES)
        if lanes is None:
            self._too_early += len(self._early) == self._early.maxlen
            self._early.append(span)
            return
        for lane in lanes:
            lane.put(span)

    def _replacing(self, name: str) -> bool:
        view = self._engine.snapshot()
        desired = desired_queue(view.intent, name) if view.intent else None
        if desired is None:
            return False
        return any(is_outdated(desired, slot, state) for slot, state in view.queue(name).workers.items())

    def _all(self) -> list[Lane[Any]]:
        output = self.output.lanes if self.output is not None else ()
        return [*(lane for lanes in self._lanes.values() for lane in lanes), *output]

    # --- sending ------------------------------------------------------------------------------------------------

    async def run(self, measures: Measures, project: str, began: float) -> None:
        """Sends for as long as it is not cancelled; returns where nothing can be sent.

        `began` is when procq was started, on the clock of the engine: numbers that only grow have done so since. Raises
        what only a fault of ours leads to.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._build(project, began)
        except Exception:
            if self.output is not None:
                # What workers write must not wait for somebody who never comes.
                self.output.begin(told=True)
            self._give_up()
            raise
        if not self._lanes:
            self._give_up()
            return
        self._tracing = Signal.TRACES in self._lanes
        for span in tuple(self._early) if self._tracing else ():
            self._ended(span)
        self._early.clear()
        for lane in self._lanes.get(Signal.TRACES, ()):
            lane.miss(self._too_early)
        async with asyncio.TaskGroup() as tasks:
            if Signal.LOGS in self._lanes:
                tasks.create_task(self._follow_history())
            if Signal.METRICS in self._lanes:
                self._measures = measures
                for interval, lanes in self._intervals.items():
                    tasks.create_task(self._measure(interval, lanes))

    async def _build(self, project: str, began: float) -> None:
        config = await self.config()
        for trouble in config.troubles:
            self._tell(trouble)
        if config.ways:
            # In a thread: importing and building takes half a second, and nobody waits for it.
            instance = self._engine.snapshot().instance
            self._lanes = await asyncio.to_thread(self._built, config, project, instance, began)
        if self.output is not None:
            self.output.life = self._tracker.life_of if Signal.TRACES in self._lanes else None
            self.output.begin(config.broken or Signal.LOGS in config.ways)

    def _give_up(self) -> None:
        self._tracing = False
        self._stop_listening()
        self._early.clear()

    async def close(self) -> None:
        """Gives what is not sent yet a moment: a receiver that hangs delays nobody by more."""
        if self.output is not None:
            self.output.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                if self._measures is not None:
                    await self._read(self._lanes[Signal.METRICS])
                while not (self._read_out() and all(lane.idle for lane in self._all())):
                    await asyncio.sleep(_LOOK)

    def _read_out(self) -> bool:
        """Whether nothing more comes of what workers write."""
        return self.output is None or self.output.idle

    def _built(self, config: Config, project: str, instance: int, began: float) -> Lanes:
        from procq.telemetry.exporters import missing
        from procq.telemetry.output import output_lanes
        from procq.telemetry.packages import EXTRAS

        try:
            from procq.telemetry.otlp import Answers, Words
        except ImportError as error:
            extras = {EXTRAS[way.means] for ways in config.ways.values() for way in ways}
            self._say(f"telemetry is asked for by OTEL_* variables and not sent: {missing(error, min(extras))}")
            return {}
        offset = time.time() - self._engine.now
        known = attributes(config.resource, _own(project, instance))
        words, answers = Words.of(known, str(known["service.version"]), offset, began + offset), Answers()
        refused: dict[str, list[str]] = {}
        lanes = {
            signal: [lane for way in ways if (lane := self._lane(signal, way, words, answers, refused))]
            for signal, ways in config.ways.items()
        }
        for why, signals in refused.items():
            self._say(f"telemetry: {', '.join(signals)} are not sent: {why}")
        if self.output is not None and lanes.get(Signal.LOGS):
            self.output.build = partial(output_lanes, config.ways[Signal.LOGS], words, answers, self._say)
        return {signal: built for signal, built in lanes.items() if built}

    def _lane(
        self, signal: Signal, way: Way, words: Words, answers: Answers, refused: dict[str, list[str]]
    ) -> Lane[Any] | None:
        from procq.telemetry.exporters import CannotBuild, exporter
        from procq.telemetry.otlp import BUILD

        assert self._config is not None
        what = str(signal)

        def changed(failing: bool) -> None:
            said = "are not delivered: " + answers.about() if failing else "are delivered again"
            self._say(f"telemetry: {what} {said}" + ("; workers do not wait for it" if failing else ""))

        try:
            what = self._config.named(signal, way)
            send = BUILD[signal](exporter(signal, way), words)
            lane: Lane[Any] = Lane(f"{signal}-{way.means}", send, way.batching, changed)
        except Exception as error:
            # The text of the libraries may show what it was built with.
            why = str(error) if isinstance(error, CannotBuild) else f"the exporter cannot be built ({_kind(error)})"
            refused.setdefault(why, []).append(what)
            return None
        if signal is Signal.METRICS:
            self._intervals.setdefault(way.interval, []).append(lane)
        return lane

    def _say(self, text: str) -> None:
        """From any thread."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, text)

    async def _follow_history(self) -> None:
        lanes, last = self._lanes[Signal.LOGS], 0
        while True:
            for event in self._history.since(last):
                told = record(event, self._tracker.context(worker_of(event), event.queue) if self._tracing else None)
                for lane in lanes:
                    if event.kind == "gap" and last:
                        lane.miss(event.id - last)
                    lane.put(told)
                last = event.id
            await self._history.until_news(last, _LONG)
            if not self._ending:
                await asyncio.sleep(_TOGETHER)

    async def _measure(self, interval: float, lanes: Sequence[Lane[Any]]) -> None:
        while True:
            await asyncio.sleep(interval)
            await self._read(lanes)

    async def _read(self, lanes: Sequence[Lane[Any]]) -> None:
        """Hands over all numbers as they are now."""
        from procq.telemetry.otlp import Reading

        assert self._measures is not None
        try:
            families = [*await self._measures(), self._lost()]
        except Exception as error:
            if not self._broken:
                self._tell(f"telemetry: numbers cannot be read: {type(error).__name__}: {error}")
            self._broken = True
            return
        self._broken = False
        for lane in lanes:
            lane.put(Reading(families, time.time()))

    def _lost(self) -> Family:
        points = []
        told: list[tuple[str, Sequence[Lane[Any]]]] = [*self._lanes.items()]
        if self.output is not None and self.output.lanes:
            told.append(("output", self.output.lanes))
        for signal, lanes in told:
            lost = sum((lane.lost for lane in lanes), Lost())
            points += [
                Point((("signal", str(signal)), ("why", "queue_full")), lost.overflowed),
                Point((("signal", str(signal)), ("why", "not_delivered")), lost.undelivered),
            ]
        what = "Spans, records of the log and of output, and readings of numbers that did not arrive"
        return Family("procq.telemetry.lost", Kind.COUNTER, "{record}", what, tuple(points))


def _kind(error: Exception) -> str:
    return type(error).__name__


def _own(project: str, instance: int) -> dict[str, str | int]:
    from opentelemetry.version import __version__ as sdk

    from procq import core

    return {
        "service.version": core.VERSION,
        # The same for all control planes of one keeper.
        "service.instance.id": str(uuid5(NAMESPACE_DNS, f"{instance:x}.{socket.gethostname()}")),
        "procq.project": project,
        "host.name": socket.gethostname(),
        "os.type": platform.system().lower(),
        "process.pid": os.getpid(),
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": platform.python_version(),
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": sdk,
    }
