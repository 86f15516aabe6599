"""The manifest of a control plane: the first one, and every one that is saved after it."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
from procq.intent import Intent, adopt, beyond_budget
from procq.model import Manifest
from procq.plan.diff import Mark, QueueDiff
from procq.state import Starting
from procq.watch import Contents

_REPORT_AFTER = 1.0
"""Seconds after which a reload is reported though some of its workers have not started yet."""
_WATCH_AGAIN_AFTER = 10.0
"""Seconds until another attempt where the system refuses to watch the file."""
_MOST_PUT_OFF = 5
"""Times that a change waits for files which it names for the first time."""


class Manifests:
    """Puts manifests in force. One that does not load changes nothing, and says why."""

    def __init__(self, engine: Engine, path: Path, news: News, console: Console, history: History) -> None:
        self._engine = engine
        self._path = path
        self._news = news
        self._console = console
        self._history = history
        self._known: Contents | None = None
        self._files: tuple[str, ...] = ()
        self._put_off = 0
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._reports: set[asyncio.Task[None]] = set()
        self.in_force_since: float | None = None
        """When the manifest in force was taken, seconds since the Unix epoch; None: before this process."""
        self.reloads: Counter[str] = Counter()
        """Saved manifests that were put in force (`ok`), and that were not (`refused`)."""
        self._error: str | None = None
        self._missing = False
        self.looked: Callable[[], None] = lambda: None
        """Called after every look at the file, whatever came of it."""
        self.reloading: Callable[[str, float, float], None] = lambda saved, began, loaded: None
        """Called before a saved file is put in force, with its name, and from when to when it was read."""
        self.refused: Callable[[str, float], None] = lambda saved, began: None
        """Called for one that is not valid, with its name and since when it was read."""

    @property
    def error(self) -> str | None:
        """Why the file on disk is not in force."""
        if not self._missing:
            return self._error
        return f"{self._path}: the file is not there, or is no regular file. Put it back, or save another in its place."

    async def first(self) -> Intent:
        """Loads the file and puts it in force. Raises ManifestError."""
        disk = _Reader()
        try:
            # In a thread: the keeper takes one that does not answer for half a minute for dead.
            loaded = await asyncio.to_thread(_load, self._path, self._path, disk)
        except ManifestError as error:
            self._files = error.files
            raise
        finally:
            self._known = disk.contents
        self._files = loaded.files
        return self._put_in_force(loaded, f"{self._path.name} taken at the start")

    async def on_disk(self, path: Path) -> Manifest:
        """What `path` says now, with the files beside it, as if it were the manifest. Raises ManifestError."""

        def read() -> Manifest:
            loaded = _load(path, self._path, _Reader())
            with _large_ones_refused(path):
                Packer().pack(Memory(Intent(loaded)), check=True)
            return loaded

        return await asyncio.to_thread(read)

    def ask(self) -> None:
        """Looks at the file again, whether or not it seems to have changed."""
        self._asked.set()

    async def watch(self) -> None:
        """Follows the files for ever. What a control plane before this one took is compared like any edit."""
        if self._engine.intent is not None and not self._files:
            self._files = self._engine.intent.manifest.files
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._obey())

    async def _follow(self) -> None:
        told = ""
        while True:
            try:
                watching = watch.changes(
                    self._path, known=self._known, also=lambda: self._files, missing=self._is_missing
                )
                async with aclosing(watching) as saves:
                    async for contents in saves:
                        before, self._known = self._known, contents
                        await self._take(_Reader(contents), before)
                        self.looked()
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
            await self._take(_Reader())
            self.looked()

    async def _take(self, reader: _Reader, before: Contents | None = None) -> None:
        async with self._one_at_a_time:
            began = time.monotonic()
            loaded, error = None, None
            try:
                # In a thread: a large manifest takes seconds, and workers that end meanwhile are replaced meanwhile.
                loaded = await asyncio.to_thread(self._loaded, reader)
                self._files = loaded.files
            except ManifestError as refused:
                error = refused
                # What may mend it is followed beside what is in force.
                self._files = tuple(dict.fromkeys((*self._files, *refused.files)))
            if reader.unsettled and self._put_off < _MOST_PUT_OFF:
                # It names files that were not followed yet, and may be half written: they come with the next contents.
                self._put_off += 1
                return
            self._put_off = 0
            if loaded is not None:
                try:
                    self._adopt(loaded, began, self._saved(reader, before))
                    self._error = None
                except ManifestError as refused:
                    error = refused
            if error is not None:
                self.refused(self._path.name, began)
                self._refuse(error, await asyncio.to_thread(self._path.is_file))

    def _is_missing(self, missing: bool) -> None:
        """What the last look at the path has found: to look at it again might hang, as its disk may."""
        self._missing = missing

    def _loaded(self, reader: _Reader) -> Manifest:
        """Loads, and compares with what is in force here too: for a thousand queues that takes a while as well."""
        loaded, before = _load(self._path, self._path, reader), self._engine.intent
        return loaded if before is None else _sharing(loaded, before.manifest)

    def _saved(self, reader: _Reader, before: Contents | None) -> str:
        """What to call a change: the file that differs, the manifest where there are several."""
        differing = reader.differing(before or {})
        if len(differing) != 1 or differing[0] == os.path.abspath(self._path):
            return self._path.name
        return os.path.relpath(differing[0], self._path.parent)

    def _refuse(self, error: ManifestError, there: bool) -> None:
        if there:  # else that is the error, for as long as it is so
            self._error = error.render() if error.problems else error.message
        self.reloads["refused"] += 1
        self._history.note(
            "reload_failed", f"{self._path.name} is not valid, the one before it stays in force: {error}"
        )
        self._announce(self._console.refused(self._path, error))

    def _adopt(self, loaded: Manifest, began: float, saved: str) -> None:
        before, read = self._engine.intent, time.monotonic()
        if before is not None and before.manifest == loaded:
            return
        too_many = None if before is None else beyond_budget(adopt(before, loaded))
        if too_many is not None:
            remedy = "`procq scale QUEUE=auto` gives the number back; then save again"
            raise ManifestError.whole(str(self._path), too_many, remedy)
        changed = [
            queue
            for queue in told(self._engine.preview(loaded, changes_only=True), before)
            if queue.mark is not Mark.SAME
        ]
        names = ", ".join(f"{queue.mark.value} {queue.name}" for queue in changed)
        self.reloading(saved, began, read)
        self._put_in_force(loaded, f"{saved} saved: {names or 'no queue changes'}")
        self.reloads["ok"] += 1
        self._engine.step()
        report = asyncio.create_task(self._report(saved, changed, began))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    def _put_in_force(self, loaded: Manifest, reason: str) -> Intent:
        with _large_ones_refused(self._path):
            intent = self._engine.adopt(loaded, reason)
        self.in_force_since = time.time()
        return intent

    async def _report(self, saved: str, changed: Sequence[QueueDiff], began: float) -> None:
        finished = await self._news.until(lambda: not self._starting(changed), _REPORT_AFTER)
        seconds = time.monotonic() - began
        self._announce(self._console.reloaded(saved, changed, seconds, unfinished=not finished))

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


class _Reader:
    """Gives the files of a manifest as they had settled, and remembers which it had to take from the disk."""

    def __init__(self, settled: Contents | None = None) -> None:
        self._settled = settled
        self.contents: dict[str, bytes] = {}
        """What was read, by absolute path."""
        self.unsettled = False
        """Whether a file was there that was not among the settled ones."""

    def __call__(self, path: str) -> bytes:
        """The content of a file. Raises OSError."""
        content = None if self._settled is None else self._settled.get(path)
        if content is None:
            content = manifest.read_file(path)
            self.unsettled = self._settled is not None
        self.contents[path] = content
        return content

    def differing(self, before: Contents) -> list[str]:
        """The files that are not what they were."""
        paths = dict.fromkeys((*before, *self.contents))
        return [path for path in paths if before.get(path) != self.contents.get(path)]


def _load(found: Path, at: Path, read: _Reader) -> Manifest:
    """The manifest in the file `found`, as if it were the one at `at`. Raises ManifestError and nothing else."""
    try:
        try:
            text = read(os.path.abspath(found))
        except OSError:
            return manifest.load(found, os.environ)
        return manifest.load_text(text, found, os.environ, at=at, read=read)
    except ManifestError:
        raise
    except Exception as error:
        # A control plane that ended here would end again and again, and nobody would replace workers that crash.
        traceback.print_exc()
        message = f"procq failed to read it ({type(error).__name__}: {error})"
        raise ManifestError.whole(str(found), message, "a fault of procq: please report it, with the file") from error
