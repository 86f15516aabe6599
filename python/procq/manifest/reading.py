"""Reads manifest files. Everything heavy is imported here, and this module only when a manifest is loaded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from procq.errors import ManifestError
from procq.manifest import nodes, procfile, schema
from procq.manifest.build import Builder
from procq.manifest.check import check
from procq.manifest.fields import Fields, Found
from procq.manifest.people import People
from procq.manifest.source import MAX_BYTES, Source
from procq.manifest.strict import confirm
from procq.manifest.syntax import read
from procq.manifest.whole import Whole, Written
from procq.model import Manifest


def load(path: Path, environ: Mapping[str, str]) -> Manifest:
    """See `procq.manifest.load`."""
    return load_text(_bytes(path), path, environ)


def load_text(text: bytes, path: Path, environ: Mapping[str, str]) -> Manifest:
    """See `procq.manifest.load_text`."""
    source = Source(text, str(path))
    directory = os.path.dirname(os.path.abspath(path))
    if path.suffix not in (".yaml", ".yml"):
        return procfile.load(source, directory)
    root = read(source)
    if root is None:
        source.raise_if_faulty()
    assert root is not None
    check(source, root, environ)
    if not isinstance(root, nodes.Mapping):
        source.raise_if_faulty()
    assert isinstance(root, nodes.Mapping)
    fields = Fields(schema.ROOT, environ, Found(source, root))
    queues = list(_written(source, fields, environ))
    people = People()
    Whole(fields, queues, people).check()
    source.raise_if_faulty()
    confirm(source, root)
    source.raise_if_faulty()
    return Builder(fields, directory, people).build({queue.name.text: queue.fields for queue in queues})


def _written(source: Source, root: Fields, environ: Mapping[str, str]) -> Iterator[Written]:
    queues, defaults = root.node("queues"), root.found("defaults")
    if isinstance(queues, nodes.Mapping):
        for name, node in queues.entries:
            yield Written(source, name, node, Fields(schema.QUEUE, environ, defaults, Found(source, node)))


def _bytes(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ManifestError.whole(str(path), "this is not a regular file", "name a file")
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}"
        raise ManifestError.whole(str(path), what, "check its name and permissions") from error


def _open(path: str, flags: int) -> int:
    # A FIFO would block without O_NONBLOCK, before it can be seen to be one.
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
