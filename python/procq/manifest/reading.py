"""Reads manifest files. Everything heavy is imported here, and this module only when a manifest is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from procq.errors import ManifestError
from procq.manifest import nodes, procfile, schema
from procq.manifest.again import Again, Loaded
from procq.manifest.beside import Beside, Read, read_file
from procq.manifest.build import Builder
from procq.manifest.check import check
from procq.manifest.expand import Variables
from procq.manifest.fields import Fields, Found
from procq.manifest.keys import List
from procq.manifest.people import People
from procq.manifest.source import MAX_PROBLEMS, Source
from procq.manifest.strict import confirm
from procq.manifest.syntax import read
from procq.manifest.units import Refused
from procq.manifest.whole import Whole, Written
from procq.model import Manifest

_again = Again()


def load(path: Path, environ: Mapping[str, str]) -> Manifest:
    """See `procq.manifest.load`."""
    try:
        text = read_file(os.fspath(path))
    except OSError as error:
        if error.errno is None:
            raise ManifestError.whole(str(path), "this is not a regular file", "name a file") from error
        what = f"the file cannot be read: {error.strerror}"
        raise ManifestError.whole(str(path), what, "check its name and permissions") from error
    return load_text(text, path, environ)


def load_text(
    text: bytes, path: Path, environ: Mapping[str, str], *, at: Path | None = None, read: Read = read_file
) -> Manifest:
    """See `procq.manifest.load_text`."""
    source = Source(text, str(path))
    directory = os.path.dirname(os.path.abspath(at or path))
    if path.suffix not in (".yaml", ".yml"):
        return procfile.load(source, directory)

    def whole(source: Source) -> Loaded:
        beside: dict[str, bytes] = {}

        def remembered(path: str) -> bytes:
            beside[path] = read(path)
            return beside[path]

        reading = _Reading(source, path, environ, remembered)
        return Loaded(reading.load(directory), reading.tree, beside)

    return _again.load(source, directory, environ, read, whole)


class _Reading:
    """One manifest with everything it names."""

    def __init__(self, main: Source, path: Path, environ: Mapping[str, str], read: Read) -> None:
        self._main = main
        self._beside = Beside(path, read)
        self._environ = Variables(environ)
        self._trees: list[tuple[Source, nodes.Mapping]] = []
        self._sources = [main]

    @property
    def tree(self) -> nodes.Mapping:
        """The manifest itself, once it has been read."""
        return self._trees[0][1]

    def load(self, directory: str) -> Manifest:
        tree = read(self._main)
        if not isinstance(tree, nodes.Mapping):
            if tree is not None:
                check(self._main, tree, self._environ)
            self._main.raise_if_faulty()
        assert isinstance(tree, nodes.Mapping)
        self._trees.append((self._main, tree))
        # Variables first: they may stand in everything else.
        top = self._fields(tree)
        for found, path in _items(top, schema.ENV_FILE):
            self._environ.add(self._beside.variables(found, path))
        check(self._main, tree, self._environ)
        self._include(top)
        queues = list(self._queues(top))
        people = People()
        files = self._queue_files(queues)
        Whole(top, queues, people, directory).check()
        self._raise_if_faulty()
        for source, each in self._trees:
            confirm(source, each)
        self._raise_if_faulty()
        builder = Builder(top, directory, people, self._environ.own, files)
        return builder.build({q.name.text: q.fields for q in queues}, tuple(self._beside.files))

    def _fields(self, tree: nodes.Mapping) -> Fields:
        return Fields(schema.ROOT, self._environ, Found(self._main, tree, self._environ))

    def _include(self, top: Fields) -> None:
        for found, pattern in _items(top, schema.INCLUDE):
            for source in self._beside.manifests(found, pattern):
                self._sources.append(source)
                tree = read(source)
                if tree is not None:
                    check(source, tree, self._environ, schema.INCLUDED)
                if isinstance(tree, nodes.Mapping):
                    self._trees.append((source, tree))

    def _queues(self, top: Fields) -> Iterator[Written]:
        """The queues of all files. One that stands in two is noted, and yielded once."""
        defaults = top.found("defaults")
        places: dict[str, tuple[Source, nodes.Scalar]] = {}
        for source, tree in self._trees:
            entry = tree.get("queues")
            if entry is None or not isinstance(entry[1], nodes.Mapping):
                continue
            for name, node in entry[1].entries:
                if name.text in places:
                    other, first = places[name.text]
                    message = f'queue "{name.text}" is also in {other.path}:{first.line + 1}'
                    Found(source, name).problem(message, "keep one of them, or give one another name")
                    continue
                places[name.text] = source, name
                own = Found(source, node, self._environ)
                yield Written(source, name, node, Fields(schema.QUEUE, self._environ, defaults, own))

    def _queue_files(self, queues: list[Written]) -> Mapping[str, Mapping[str, str]]:
        """The variables of all files that queues name, by the path that was written."""
        files: dict[str, Mapping[str, str]] = {}
        for queue in queues:
            if queue.fields.found("env_file") is not None:
                for layer in queue.fields.apart():
                    for found, path in _items(layer, schema.ENV_FILE):
                        files[path] = self._beside.variables(found, path)
        return files

    def _raise_if_faulty(self) -> None:
        """Raises ManifestError with all problems, those of the manifest first."""
        problems = [problem for source in self._sources for problem in source.problems()]
        problems += self._beside.problems
        if problems:
            raise ManifestError(problems[:MAX_PROBLEMS], tuple(self._beside.files))


def _items(fields: Fields, key: List) -> Iterator[tuple[Found, str]]:
    """The values of a list; none where one cannot be read, which is noted elsewhere."""
    try:
        yield from fields.items(key)
    except Refused:
        return
