"""The manifest of a control plane: the first one, and every one that is saved after it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from procq import manifest
from procq.api.differences import told
from procq.daemon.console import Console
from procq.daemon.news import News
from procq.engine.loop import Engine
from procq.engine.port import Announce
from procq.errors import ManifestError
from procq.history import History
from procq.intent import Intent
from procq.model import Manifest
from procq.plan.diff import Mark, QueueDiff
from procq.state import Starting

_MOST_BYTES = (1 << 20) + 1
_REPORT_AFTER = 1.0
"""Seconds after which a reload is reported though some of its workers have not started yet."""
_WATCH_AGAIN_AFTER = 10.0
"""Seconds until another attempt where the system refuses to watch the file."""


class Manifests:
    """Puts manifests in force. One that does not load changes nothing, and says why."""

    def __init__(self, engine: Engine, path: Path, news: News, console: Console, history: History) -> None:
        self._engine = engine
        self._path = path
        self._news = news
        self._console = console
        self._history = history
        self._known: bytes | None = None
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._reports: set[asyncio.Task[None]] = set()
        self.in_force_since: float | None = None
        """When the manifest in force was taken, seconds since the Unix epoch; None: before this process."""
        self.error: str | None = None
        """Why the file on disk is not in force."""

    def first(self) -> Intent:
        """Loads the file and puts it in force. Raises ManifestError."""
        self._known = _read(self._path)
        if self._known is None:
            loaded = manifest.load(self._path, os.environ)
        else:
            loaded = manifest.load_text(self._known, self._path, os.environ)
        self.in_force_since = time.time()
        return self._engine.adopt(loaded, f"{self._path.name} taken at the start")

    async def on_disk(self, path: Path) -> Manifest:
        """What `path` says now, read as if it were where the manifest is. Raises ManifestError."""

        def load() -> Manifest:
            content = _read(path)
            if content is None:
                return manifest.load(path, os.environ)
            return manifest.load_text(content, self._path.with_name(path.name), os.environ)

        return await asyncio.to_thread(load)

    def ask(self) -> None:
        """Looks at the file again, whether or not it seems to have changed."""
        self._asked.set()

    async def watch(self) -> None:
        """Follows the file for ever. What a control plane before this one took is compared like any edit."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._obey())

    async def _follow(self) -> None:
        from procq.watch import changes

        while True:
            try:
                async with aclosing(changes(self._path, known=self._known)) as contents:
                    async for content in contents:
                        self._known = content
                        await self._take(content)
            except (OSError, RuntimeError) as error:
                text = f"{self._path.name} cannot be watched ({error}): looking every {_WATCH_AGAIN_AFTER:g} s instead"
                self._history.note("watch_failed", text)
                await asyncio.sleep(_WATCH_AGAIN_AFTER)

    async def _obey(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            content = await asyncio.to_thread(_read, self._path)
            if content is not None:
                await self._take(content)

    async def _take(self, content: bytes) -> None:
        async with self._one_at_a_time:
            began = time.monotonic()
            try:
                # In a thread: a large manifest takes seconds, and workers that end meanwhile are replaced meanwhile.
                loaded = await asyncio.to_thread(manifest.load_text, content, self._path, os.environ)
            except ManifestError as error:
                self._refuse(error)
                return
            self.error = None
            self._adopt(loaded, began)

    def _refuse(self, error: ManifestError) -> None:
        self.error = error.render() if error.problems else error.message
        self._history.note(
            "reload_failed", f"{self._path.name} is not valid, the one before it stays in force: {error}"
        )
        self._announce(self._console.refused(self._path.name, error))

    def _adopt(self, loaded: Manifest, began: float) -> None:
        before = self._engine.intent
        if before is not None and before.manifest == loaded:
            return
        changed = [queue for queue in told(self._engine.preview(loaded), before) if queue.mark is not Mark.SAME]
        names = ", ".join(f"{queue.mark.value} {queue.name}" for queue in changed)
        self._engine.adopt(loaded, f"{self._path.name} saved: {names or 'no queue changes'}")
        self._engine.step()
        self.in_force_since = time.time()
        report = asyncio.create_task(self._report(changed, began))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    async def _report(self, changed: Sequence[QueueDiff], began: float) -> None:
        finished = await self._news.until(lambda: not self._starting(changed), _REPORT_AFTER)
        seconds = time.monotonic() - began
        self._announce(self._console.reloaded(self._path.name, changed, seconds, unfinished=not finished))

    def _starting(self, queues: Sequence[QueueDiff]) -> bool:
        view = self._engine.snapshot()
        return any(isinstance(state, Starting) for q in queues for state in view.queue(q.name).workers.values())

    def _announce(self, lines: Sequence[str]) -> None:
        if lines:
            self._engine.send(Announce(tuple(lines)))


def _read(path: Path) -> bytes | None:
    """The content, as much as a manifest may have and a byte more; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return None
