"""The manifest of a control plane: the first one, and every one that is saved after it."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from procq import manifest, watch
from procq.api.differences import told
from procq.daemon.console import Console
from procq.daemon.news import News
from procq.engine.blob import Memory, Packer, TooLarge
from procq.engine.loop import Engine
from procq.engine.port import Announce
from procq.errors import ManifestError
from procq.history import History
from procq.intent import Intent
from procq.model import Manifest
from procq.plan.diff import Mark, QueueDiff
from procq.state import Starting

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
        self._known = watch.read(self._path)
        loaded = _load(self._known, self._path, self._path)
        return self._put_in_force(loaded, f"{self._path.name} taken at the start")

    async def on_disk(self, path: Path) -> Manifest:
        """What `path` says now, read as if it were where the manifest is. Raises ManifestError."""

        def read() -> Manifest:
            loaded = _load(watch.read(path), path, self._path.with_name(path.name))
            with _large_ones_refused(path):
                Packer().pack(Memory(Intent(loaded)), check=True)
            return loaded

        return await asyncio.to_thread(read)

    def ask(self) -> None:
        """Looks at the file again, whether or not it seems to have changed."""
        self._asked.set()

    async def watch(self) -> None:
        """Follows the file for ever. What a control plane before this one took is compared like any edit."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._obey())

    async def _follow(self) -> None:
        told = ""
        while True:
            try:
                async with aclosing(watch.changes(self._path, known=self._known)) as contents:
                    async for content in contents:
                        self._known = content
                        await self._take(content)
            except (OSError, RuntimeError) as error:
                text = f"{self._path.name} cannot be watched ({error}): looking every {_WATCH_AGAIN_AFTER:g} s instead"
                if text != told:
                    self._history.note("watch_failed", text)
                    told = text
                await asyncio.sleep(_WATCH_AGAIN_AFTER)

    async def _obey(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._take(await asyncio.to_thread(watch.read, self._path))

    async def _take(self, content: bytes | None) -> None:
        async with self._one_at_a_time:
            began = time.monotonic()
            try:
                # In a thread: a large manifest takes seconds, and workers that end meanwhile are replaced meanwhile.
                loaded = await asyncio.to_thread(self._again, content)
                self._adopt(loaded, began)
                self.error = None
            except ManifestError as error:
                self._refuse(error)

    def _again(self, content: bytes | None) -> Manifest:
        """Loads, in a thread, and compares with what is in force there too, for that takes a while as well."""
        loaded, before = _load(content, self._path, self._path), self._engine.intent
        return loaded if before is None else _sharing(loaded, before.manifest)

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
        changed = [
            queue
            for queue in told(self._engine.preview(loaded, changes_only=True), before)
            if queue.mark is not Mark.SAME
        ]
        names = ", ".join(f"{queue.mark.value} {queue.name}" for queue in changed)
        self._put_in_force(loaded, f"{self._path.name} saved: {names or 'no queue changes'}")
        self._engine.step()
        report = asyncio.create_task(self._report(changed, began))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    def _put_in_force(self, loaded: Manifest, reason: str) -> Intent:
        with _large_ones_refused(self._path):
            intent = self._engine.adopt(loaded, reason)
        self.in_force_since = time.time()
        return intent

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


def _sharing(loaded: Manifest, before: Manifest) -> Manifest:
    """`loaded` with the queues of `before` where they are equal: the same object need not be compared again."""
    same = {name: known for name, known in before.queues.items() if loaded.queues.get(name) == known}
    return replace(loaded, queues=MappingProxyType({**loaded.queues, **same}))


@contextmanager
def _large_ones_refused(path: Path) -> Iterator[None]:
    try:
        yield
    except TooLarge as error:
        shared = "what all queues share counts for each of them"
        raise ManifestError.whole(str(path), str(error), shared) from None


def _load(content: bytes | None, found: Path, path: Path) -> Manifest:
    """The manifest in `content`, read from `found`, as if it were at `path`. Raises ManifestError and nothing else."""
    try:
        return manifest.load(found, os.environ) if content is None else manifest.load_text(content, path, os.environ)
    except ManifestError:
        raise
    except Exception as error:
        # A control plane that ended here would end again and again, and nobody would replace workers that crash.
        traceback.print_exc()
        message = f"procq failed to read it ({type(error).__name__}: {error})"
        raise ManifestError.whole(str(path), message, "a fault of procq: please report it, with the file") from error
