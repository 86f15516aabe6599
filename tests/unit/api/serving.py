"""The real API on a real unix socket, before an engine whose keeper and clock are pretended."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from procq.api.app import create_app
from procq.api.control import Facts
from procq.api.differences import plan_view
from procq.api.server import ApiServer
from procq.engine.view import StateView
from procq.events import Event
from procq.history import History
from procq.intent import Intent
from procq.lives import Lives
from procq.meter import Meter
from procq.model import Manifest
from procq.paths import Project
from procq.telemetry.measures import Family, Itself, families
from procq.testing import Rig
from procq.views import About
from procq.wire import DecisionView, PlanView
from tests.queues import manifest, queue

T = TypeVar("T")
PATIENCE = 10.0
SHOP = manifest(queue("emails", 2), queue("reports", 1), queue("broken", 1, command="no-such-program"))


class RigControl:
    """Implements `procq.api.control.Control` on a rig. `on_disk` is the manifest that a plan compares with."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.history = History(clock=lambda: 1_800_000_000.0)
        self.on_disk: Manifest | Exception = rig.engine.intent.manifest if rig.engine.intent else Manifest("", {})
        self.manifest_error: str | None = None
        self.planned: str | None = None
        self.decided: list[DecisionView] = []
        self._lives = Lives()
        self._meter = Meter(lambda roots: [(1.0, 1 << 20, 1, 1) for _ in roots])
        rig.engine.subscribe(self._record)

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            self.history.record(event, self._lives.look(event))

    def view(self) -> StateView:
        return self.rig.engine.snapshot()

    def now(self) -> float:
        return self.rig.engine.now

    def facts(self) -> Facts:
        return Facts("shop", "/srv/shop/procq.yaml", 1_800_000_000.0, 3600.0, 11, 12, self.manifest_error)

    async def about(self) -> About:
        loads = self._meter.measure(self.view().observed.queues, self.now())
        return About(loads, self.history.last_exits, self.history.restarts)

    async def measures(self) -> Sequence[Family]:
        return families(self.view(), await self.about(), Itself("0", "shop", 3600.0))

    def change(self, change: Callable[[Intent], Intent], reason: str) -> None:
        self.rig.engine.change(change, reason)
        self.rig.settle()

    async def decisions(self, name: str, limit: int) -> Sequence[DecisionView]:
        return self.decided[: limit + 1]

    async def plan(self, file: str | None) -> PlanView:
        self.planned = file
        if isinstance(self.on_disk, Exception):
            raise self.on_disk
        return plan_view(self.rig.engine.preview(self.on_disk), file or "/srv/shop/procq.yaml", self.rig.engine.intent)


class Served:
    """The running API. `call` runs something on its loop, where the engine lives."""

    def __init__(self, control: RigControl, project: Project) -> None:
        self.control = control
        self.project = project
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(project.api_socket)
        self._listener.listen()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.server = ApiServer(create_app(self.control))
        serving = asyncio.create_task(self.server.serve([self._listener]))
        await self.server.listening.wait()
        self._ready.set()
        await serving

    def call(self, act: Callable[[], T]) -> T:
        async def run() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE)

    def timers(self) -> int:
        """How many timers the loop has to wake up for."""
        scheduled = self._loop._scheduled  # type: ignore[attr-defined]
        return self.call(lambda: sum(not timer.cancelled() for timer in scheduled))

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, parsed JSON body (or text), headers. A body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.sock.connect(self.project.api_socket)
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            sent = {"Content-Type": "application/json"} if raw is not None else {}
            connection.request(method, path, raw, {**sent, **(headers or {})})
            response = connection.getresponse()
            text = response.read().decode()
            parsed = json.loads(text) if "json" in (response.getheader("content-type") or "") else text
            return response.status, parsed, dict(response.getheaders())
        finally:
            connection.close()

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.server.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def served(rig: Rig, directory: Path) -> Iterator[Served]:
    project = Project("/srv/shop/procq.yaml", "shop", str(directory), str(directory))
    running = Served(RigControl(rig), project)
    try:
        yield running
    finally:
        running.close()
