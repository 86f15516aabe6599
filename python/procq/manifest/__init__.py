"""Manifests: the file that says which queues there are, and what each deserves.

    load, load_text    a file, or its content, to `procq.model.Manifest`; all problems at once as ManifestError
    schema_json        what a manifest may hold, as JSON Schema
    reference          the same, as a page for people

The parsers are imported when the first file is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from procq.model import Manifest

__all__ = ["load", "load_text", "read_file", "reference", "schema_json"]


def load(path: Path, environ: Mapping[str, str]) -> Manifest:
    """Reads a manifest, or a Procfile where the name does not end in .yaml or .yml.

    `environ` is what `${NAME}` is taken from. Raises ManifestError with every problem of the file.
    """
    from procq.manifest import reading

    return reading.load(path, environ)


def load_text(
    text: bytes,
    path: Path,
    environ: Mapping[str, str],
    *,
    at: Path | None = None,
    read: Callable[[str], bytes] | None = None,
) -> Manifest:
    """As `load`, for content that has already been read.

    `path` is for messages, and for what the text includes, which `read` gets by absolute paths: it raises OSError.
    Directories and log files are relative to where the text will be used: `at`, or else `path`.
    """
    from procq.manifest import beside, reading

    return reading.load_text(text, path, environ, at=at, read=read or beside.read_file)


def read_file(path: str) -> bytes:
    """The content of a regular file, at most a byte more than a manifest may have. Raises OSError."""
    from procq.manifest import beside

    return beside.read_file(path)


def schema_json() -> dict[str, Any]:
    """What a manifest may hold, as JSON Schema (draft 2020-12) for editors."""
    from procq.manifest import json_schema

    return json_schema.schema_json()


def reference() -> str:
    """What a manifest may hold, key by key, as Markdown."""
    from procq.manifest import page

    return page.reference()
