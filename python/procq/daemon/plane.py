"""The control plane itself: one engine, one manifest, one API, joined."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from procq import core
from procq.api.control import Control, Facts
from procq.api.differences import plan_view
from procq.daemon.console import Console
from procq.daemon.fault import fault
from procq.daemon.keeping import Keeping
from procq.daemon.manifests import Manifests
from procq.daemon.news import News
from procq.daemon.options import Options
from procq.daemon.service import Service
from procq.engine.driver import Driver, Source
from procq.engine.local import PROTOCOL
from procq.engine.loop import Engine
from procq.engine.port import Announce, DeclareReady, ShutDown
from procq.engine.view import StateView
from procq.errors import ExitCode, ManifestError, ProcqError
from procq.events import Event, Gap, HandOverAsked, Incompatible, ReloadAsked
from procq.intent import Intent, adopt
from procq.lives import Lives
from procq.meter import Meter
from procq.model import WorkerId
from procq.monitor import Prober, Sampler
from procq.pace import Paces
from procq.plan.diff import compare
from procq.telemetry.asked import file, wanted
from procq.telemetry.output import Output
from procq.telemetry.tally import Tally
from procq.views import About, starting
from procq.wire import DecisionView, PlanView

if TYPE_CHECKING:
    from procq.api.server import ApiServer
    from procq.daemon.decisions import Decisions
    from procq.history import History
    from procq.monitor.follow import Follow
    from procq.monitor.scaler import Scaler
    from procq.telemetry.measures import Family
    from procq.telemetry.running import Telemetry

_SETTLED_AFTER = 5.0
"""Seconds after which telemetry is sent though some workers are not ready yet."""


class IncompatibleKeeper(ProcqError):
    """The keeper speaks only versions of the protocol that this control plane does not."""


class ControlPlane:
    """Runs until the keeper hangs up. Implements `procq.api.control.Control`."""

    def __init__(self, engine: Engine, source: Source, options: Options) -> None:
        self._keeping = Keeping(options, self._trouble)
        self.history = self._keeping.history()
        self._engine = engine
        self._driver = Driver(engine, source)
        self._options = options
        self._console = Console(options.prefix_width, options.color)
        self._news = News()
        self._lives = Lives()
        self._meter = Meter(core.usage)
        self._paces = Paces()
        self._tally = Tally()
        self._prober = Prober(engine, self._unasked)
        self._sampler = Sampler(engine, core.usage)
        self._scaling: Scaling | None = None
        self._misfit: Incompatible | None = None
        self._retired = asyncio.Event()
        self._manifests = Manifests(engine, options.manifest, self._news, self._console, self.history)
        self._service = Service(engine, self._news, lambda: self._manifests.error) if options.service else None
        if self._service is not None:
            self._manifests.looked = self._service.say
        self._telemetry = _telemetry(engine, self.history, self._trouble)
        if self._telemetry is not None:
            self._manifests.reloading, self._manifests.refused = self._telemetry.reloading, self._telemetry.refused
        self._output = Output(engine, self._keeping.socket, os.environ, self._trouble)
        if self._telemetry is None:
            self._output.refuse()
        else:
            self._telemetry.output = self._output
        engine.subscribe(self._happened)
        engine.subscribe(self._news.publish)

    async def run(self) -> None:
        """Attaches, takes up or loads what is wanted, serves.

        Returns once the keeper has hung up, or another control plane is to take our place.
        """
        work = asyncio.create_task(self._work())
        try:
            talk = asyncio.create_task(self._driver.run())
            await asyncio.wait({talk, work}, return_when=asyncio.FIRST_COMPLETED)
            # The work ends by itself only when another control plane takes our place: else this raises what ended it.
            await (talk if talk.done() else work)
        finally:
            work.cancel()
            await asyncio.gather(self._keeping.close(), *([self._telemetry.close()] if self._telemetry else []))

    async def _work(self) -> None:
        await self._news.until(lambda: self._engine.complete or self._misfit is not None)
        if self._misfit is not None:
            raise IncompatibleKeeper(
                f"another version of procq has been installed, which speaks protocol {PROTOCOL}: "
                f"the keeper speaks {self._misfit.oldest} to {self._misfit.newest}",
                hint="Workers go on, and nothing can be changed: `procq upgrade` has the keeper follow.",
            )
        if not await self._take_up():
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as tasks:
            listening = asyncio.Event()
            others = [
                tasks.create_task(self._prober.run()),
                tasks.create_task(self._sampler.run()),
                tasks.create_task(self._follow_load()),
                tasks.create_task(self._declare_ready(listening)),
                tasks.create_task(self._tell_service(listening)),
                tasks.create_task(self._watch(listening)),
                tasks.create_task(self._beside("metrics are not served", self._serve_metrics(listening))),
                tasks.create_task(self._beside("not all telemetry is sent", self._send_telemetry(listening))),
            ]
            await self._serve(listening)
            for task in others:
                task.cancel()

    async def _take_up(self) -> bool:
        """What the control plane before this one intended, else the manifest. False where there is nothing to do."""
        view = self._engine.snapshot()
        if self._engine.unreadable is not None:
            self.history.note("intent_lost", f"{self._engine.unreadable}; what was changed by hand is forgotten")
        if self._engine.intent is not None:
            self._announce(self._console.recovered(view.epoch))
            return True
        try:
            intent = await self._manifests.first()
        except ManifestError as error:
            if any(queue.workers for queue in view.observed.queues.values()):
                # What was wanted is lost: keep all that runs, and wait for a manifest that loads.
                self._announce(self._console.refused(self._options.manifest, error))
                return True
            self._announce(error.render(self._options.color).splitlines())
            self._engine.send(ShutDown("the manifest is not valid", exit_code=ExitCode.MANIFEST))
            return False
        self._announce(self._console.started(core.VERSION, self._project(intent), intent.manifest))
        return True

    async def _serve(self, listening: asyncio.Event) -> None:
        # The workers come first: these imports take longer than starting a hundred of them.
        server, _ = await asyncio.gather(asyncio.to_thread(_api_server, self), self._keeping.begin(self.history))
        with socket.socket(fileno=self._options.api_fd) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            try:
                await server.listening.wait()
                listening.set()
                retired = asyncio.create_task(self._retired.wait())
                await asyncio.wait({serving, retired}, return_when=asyncio.FIRST_COMPLETED)
                # Who asks from now on waits in the listener for the next one; who has asked gets an answer.
                server.stop()
                await serving
            finally:
                # The keeper has it as well: closed here alone it would still be watched, and who asks then wake us.
                if listener.fileno() >= 0:
                    asyncio.get_running_loop().remove_reader(listener.fileno())

    async def _follow_load(self) -> None:
        # After the workers, and in a thread: most of it is only needed where a queue scales.
        self._scaling = await asyncio.to_thread(_scaling, self._engine, self._keeping, self._trouble, self._tally)
        if self._engine.intent is not None and any(q.source for q in self._engine.intent.manifest.queues.values()):
            # An upgrade takes away what is on the disk before this process ends.
            await asyncio.to_thread(_preload_sources)
        await self._scaling.scaler.run()

    async def _watch(self, listening: asyncio.Event) -> None:
        await listening.wait()
        await self._manifests.watch()

    async def _serve_metrics(self, listening: asyncio.Event) -> None:
        await listening.wait()
        if file(os.environ) is not None and self._telemetry is not None:
            if pages := (await self._telemetry.config()).pages:
                from procq.daemon.metrics_port import Address, serve_at

                served = (serve_at(Address(*page), self.measures, self._trouble) for page in pages)
                await asyncio.gather(*served)
        elif "OTEL_METRICS_EXPORTER" in os.environ:
            from procq.daemon import metrics_port

            await metrics_port.serve(os.environ, self.measures, self._trouble)

    async def _send_telemetry(self, listening: asyncio.Event) -> None:
        if self._telemetry is not None:
            await listening.wait()
            await self._news.until(self._all_started, _SETTLED_AFTER)
            project = self._project(self._engine.intent)
            await self._telemetry.run(self.measures, project, self._options.since)

    async def _beside(self, without: str, work: Coroutine[None, None, None]) -> None:
        """Work that a control plane can do without: a fault of ours in it is told, and ends nothing else."""
        try:
            await work
        except Exception as error:
            self._trouble(f"{without} until procq is restarted: procq failed at it ({fault(error)})")

    async def _declare_ready(self, listening: asyncio.Event) -> None:
        await listening.wait()
        if not self._engine.was_ready:
            await self._news.until(self._all_started)
        self._engine.send(DeclareReady())
        # What has been imported and built so far stays: no collection needs to look at it again.
        gc.collect()
        gc.freeze()

    async def _tell_service(self, listening: asyncio.Event) -> None:
        if self._service is not None:
            await listening.wait()
            await self._service.run()

    def _all_started(self) -> bool:
        """Whether everything that is to run is ready, or has failed at least once."""
        view = self._engine.snapshot()
        return not any(starting(view, name) for name in view.observed.queues)

    def _happened(self, events: Sequence[Event]) -> None:
        lines: list[str] = []
        self._paces.happened(events, self._engine.now)
        self._tally.happened(events, self._engine.now)
        for event in events:
            life = self._lives.look(event)
            self.history.record(event, life)
            lines += self._console.happened(event, life)
            match event:
                case Incompatible():
                    self._misfit = event
                case ReloadAsked() | Gap():
                    # What a gap has swallowed may have been the order to reload.
                    self._manifests.ask()
                case HandOverAsked():
                    self._engine.save_counters()
                    self._retired.set()
        # A subscriber of the engine may not send by itself.
        asyncio.get_running_loop().call_soon(self._announce, self._console.bounded(lines))

    def _unasked(self, worker: WorkerId, why: str) -> None:
        self.history.note("unasked", why, worker)
        self._announce(self._console.unasked(worker, why))

    def _trouble(self, text: str) -> None:
        self.history.note("trouble", text)
        self._announce([f"procq: {text}"])

    def _announce(self, lines: Sequence[str]) -> None:
        if lines:
            self._engine.send(Announce(tuple(lines)))

    def _project(self, intent: Intent | None) -> str:
        return self._options.instance or (intent.manifest.name if intent else self._options.manifest.parent.name)

    # --- what the API asks --------------------------------------------------------------------------------------

    def view(self) -> StateView:
        """Everything at this moment."""
        return self._engine.snapshot()

    def now(self) -> float:
        """The clock of the engine."""
        return self._engine.now

    def facts(self) -> Facts:
        """About the process itself."""
        return Facts(
            project=self._project(self._engine.intent),
            manifest=str(self._options.manifest),
            in_force_since=self._manifests.in_force_since or self.history.saved,
            up_for=time.monotonic() - self._options.since,
            keeper_pid=self._options.keeper_pid or os.getppid(),
            tier=self._options.tier or None,
            control_plane_pid=os.getpid(),
            manifest_error=self._manifests.error,
        )

    async def about(self) -> About:
        """What workers use, and what is remembered of them."""
        queues = self._engine.snapshot().observed.queues
        # In a thread, because it reads a file for every process of the machine.
        loads = await asyncio.to_thread(self._meter.measure, queues, self._engine.now)
        paces = {name: self._paces.of(name, self._engine.now) for name in queues}
        standings = {} if self._scaling is None else self._scaling.scaler.standings(self._engine.now)
        return About(loads, self.history.last_exits, self.history.restarts, paces, standings)

    async def measures(self) -> Sequence[Family]:
        """Every number at this moment."""
        from procq.telemetry.keeper import volumes
        from procq.telemetry.measures import Itself, families
        from procq.telemetry.processes import look

        # In a thread: the keeper answers at once, unless somebody has stopped it.
        written = await asyncio.to_thread(volumes, self._keeping.socket)
        about, facts, view = await self.about(), self.facts(), self._engine.snapshot()
        self._tally.used(about.loads, view)
        valid, reloads = facts.manifest_error is None, dict(self._manifests.reloads)
        own = await asyncio.to_thread(look, {"control_plane": os.getpid(), "keeper": os.getppid()})
        itself = Itself(core.VERSION, facts.project, facts.up_for, valid, reloads, own)
        return await asyncio.to_thread(families, view, about, itself, replace(self._tally.counts(), volumes=written))

    async def decisions(self, name: str, limit: int) -> Sequence[DecisionView]:
        """The decision about a queue that holds now, if any, and the newest `limit` changes before it."""
        return [] if self._scaling is None else await self._scaling.decisions.of(name, limit)

    def change(self, change: Callable[[Intent], Intent], reason: str) -> None:
        """Changes what is wanted, and acts on it before the answer is written."""
        self._engine.change(change, reason)
        self._engine.step()

    async def plan(self, file: str | None) -> PlanView:
        """What the manifest on disk, or another `file` in its place, would change."""
        path = Path(file) if file else self._options.manifest
        manifest = await self._manifests.on_disk(path)
        view = self._engine.snapshot()
        after = Intent(manifest) if view.intent is None else adopt(view.intent, manifest)
        # In a thread: for ten thousand workers it takes longer than the control loop may be held.
        difference = await asyncio.to_thread(compare, view.intent, after, view.observed)
        return plan_view(difference, str(path), view.intent)


@dataclass(frozen=True, slots=True)
class Scaling:
    """Who follows the load, and who remembers why."""

    scaler: Scaler
    decisions: Decisions


def _telemetry(engine: Engine, history: History, tell: Callable[[str], None]) -> Telemetry | None:
    if not wanted(os.environ):
        return None
    from procq.telemetry.running import Telemetry

    return Telemetry.of(os.environ, engine, history, tell)


def _preload_sources() -> None:
    from procq.scaling.sources import preload

    preload()


def _scaling(engine: Engine, keeping: Keeping, tell: Callable[[str], None], tally: Tally) -> Scaling:
    from procq.daemon.decisions import Decisions
    from procq.monitor.host import Host
    from procq.monitor.pressure import Gauge
    from procq.monitor.scaler import Scaler

    decisions = Decisions(keeping.journal, keeping.path)

    def decided(name: str, before: int, after: int, follow: Follow, now: float) -> None:
        decisions.decided(name, before, after, follow, now)
        assert follow.decision is not None and follow.signals is not None
        tally.decided(name, follow.decision, follow.signals, follow.short)

    return Scaling(Scaler(engine, Host(core.usage, Gauge().read, tell), decided, tell), decisions)


def _api_server(control: Control) -> ApiServer:
    from procq.api.app import create_app
    from procq.api.server import ApiServer

    return ApiServer(create_app(control))
