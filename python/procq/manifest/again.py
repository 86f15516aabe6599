"""A large manifest that is loaded again with an edit in a few of its queues.

Only these queues are read: together with everything around the queues they make a small manifest of their own, which
goes through the same parser, checks and second opinion as any. Whatever one queue could mean to another, and whatever
is not certain, leaves it to a load of the whole text, as does every error: its place is that in the whole text.
"""

from __future__ import annotations

import glob
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from procq.errors import ManifestError
from procq.manifest import nodes
from procq.manifest.nodes import MAX_NODES
from procq.manifest.source import Source
from procq.model import Manifest

_LARGE = 32
"""Queues; fewer are read as fast as they are compared."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A manifest, the tree it was made of, and what was read besides it, by absolute path."""

    manifest: Manifest
    tree: nodes.Mapping
    beside: Mapping[str, bytes]


Load = Callable[[Source], Loaded]
Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the queues stand: the line and the column of each name, and the line after the last."""

    starts: tuple[int, ...]
    columns: frozenset[int]
    end: int
    keys: int
    """How many keys there are at the top."""


@dataclass(frozen=True, slots=True)
class _Before:
    """What was loaded last, and all that it depended on."""

    path: str
    directory: str
    environ: Mapping[str, str]
    lines: Sequence[str]
    layout: _Layout
    manifest: Manifest
    beside: Mapping[str, bytes]


class Again:
    """Remembers the last large manifest. For one thread at a time, or several: the last one counts."""

    def __init__(self) -> None:
        self._before: _Before | None = None

    def load(self, source: Source, directory: str, environ: Mapping[str, str], read: Read, load: Load) -> Manifest:
        """What `load` makes of `source`, from what is remembered where it is certain to be the same.

        `read` is where `load` takes other files from.
        """
        found = self._quickly(source, directory, environ, read, load)
        if found is None:
            self._before = None
            loaded = load(source)
            layout = _layout(source, loaded.tree, _LARGE)
            if layout is not None and _alone(loaded):
                self._before = _Before(
                    source.path, directory, dict(environ), source.lines, layout, loaded.manifest, loaded.beside
                )
            return loaded.manifest
        self._before = found
        return found.manifest

    def _quickly(
        self, source: Source, directory: str, environ: Mapping[str, str], read: Read, load: Load
    ) -> _Before | None:
        before = self._before
        if before is None or (before.path, before.directory) != (source.path, directory):
            return None
        if before.environ != environ or not _bearable(source.text) or not _same(before.beside, read):
            return None
        if before.lines == source.lines:
            return before
        span = _span(before, source.lines)
        if span is None:
            return None
        first, last, grown = span
        old = before.layout
        start = old.starts[first]
        stop = (*old.starts, old.end)[last + 1]
        edited = source.lines[start : stop + grown]
        after = source.lines[old.end + grown :]
        if stop < old.end == len(before.lines):
            after = [""]  # the line break in front of the queue that follows
        lines = [*source.lines[: old.starts[0]], *edited, *after]
        if any(line[0] not in " #" for line in edited if line.strip()):
            return None
        try:
            small = Source("\n".join(lines).encode(), source.path)
            part = load(small)
        except ManifestError:
            return None
        return _joined(before, source, (first, last, grown), part, _layout(small, part.tree, 1))


def _bearable(text: str) -> bool:
    """Whether `text` has less than the values that a manifest may have, counted generously."""
    return 1 + 2 * (text.count(":") + text.count("?")) + text.count("-") < MAX_NODES


def _alone(loaded: Loaded) -> bool:
    """Whether it depends on no pattern of files and on no user of the system, which may change unseen."""
    known = {glob.escape(path) for path in loaded.beside}
    return known == set(loaded.manifest.files) and all(q.user is None for q in loaded.manifest.queues.values())


def _same(beside: Mapping[str, bytes], read: Read) -> bool:
    try:
        return all(read(path) == content for path, content in beside.items())
    except OSError:
        return False


def _layout(source: Source, tree: nodes.Mapping, least: int) -> _Layout | None:
    entry = tree.get("queues")
    if entry is None or not isinstance(entry[1], nodes.Mapping) or len(entry[1].entries) < least:
        return None
    names = [name for name, _ in entry[1].entries]
    following = (name.line for name, _ in tree.entries if name.line > entry[0].line)
    return _Layout(
        tuple(name.line for name in names),
        frozenset(name.column for name in names),
        min(following, default=len(source.lines)),
        len(tree.entries),
    )


def _span(before: _Before, lines: Sequence[str]) -> tuple[int, int, int] | None:
    """The first and the last queue that differ, and by how many lines they grew; None: not only queues differ."""
    old, layout = before.lines, before.layout
    same = next((n for n, (a, b) in enumerate(zip(old, lines, strict=False)) if a != b), min(len(old), len(lines)))
    most = min(len(old), len(lines)) - same
    backwards = zip(reversed(old), reversed(lines), strict=False)
    tail = next((n for n, (a, b) in enumerate(backwards) if n == most or a != b), most)
    stop = len(old) - tail  # in the old text: what differs is same … stop
    first = bisect_right(layout.starts, same) - 1
    if stop == same and first >= 0 and layout.starts[first] == same:
        first -= 1  # new lines right before a name belong to the queue above it
    if first < 0 or stop > layout.end:
        return None
    last = max(first, bisect_right(layout.starts, stop - 1) - 1)
    if last - first > len(layout.starts) // 2:
        return None
    return first, last, len(lines) - len(old)


def _joined(
    before: _Before, source: Source, span: tuple[int, int, int], loaded: Loaded, layout: _Layout | None
) -> _Before | None:
    """The manifest before with the queues of `part` in it; None where they could matter to others."""
    first, last, grown = span
    old, part = before.layout, loaded.manifest
    names = list(before.manifest.queues)[first : last + 1]
    height = (*old.starts, old.end)[last + 1] - old.starts[first] + grown
    if layout is None or list(part.queues) != names or not _alone(loaded):
        return None
    # Files that only other queues name are not among those of the part: whether they still do would have to be known.
    if loaded.beside != before.beside:
        return None
    begin = old.starts[0]
    # Each name where it was, and whatever follows the queues where it has to be: nothing has swallowed anything.
    fits = layout.starts[0] == begin and layout.columns == old.columns and layout.keys == old.keys
    ends = layout.end == begin + height or (last + 1 < len(old.starts) and old.end == len(before.lines))
    if not fits or not ends or len(old.columns) != 1:
        return None
    queues = {**before.manifest.queues, **part.queues}
    pairs = [(before.manifest.queues[name], part.queues[name]) for name in names]
    if any(one.after or other.after or one.logs != other.logs for one, other in pairs):
        return None
    budget = before.manifest.budget
    if budget is not None and sum(queue.workers for queue in queues.values()) > budget:
        return None
    moved = tuple(line - begin + old.starts[first] for line in layout.starts)
    starts = (*old.starts[:first], *moved, *(line + grown for line in old.starts[last + 1 :]))
    return replace(
        before,
        lines=source.lines,
        layout=replace(old, starts=starts, end=old.end + grown),
        manifest=replace(before.manifest, queues=MappingProxyType(queues)),
    )
