"""Manifests: the file that says which queues there are, and what each deserves.

    load, load_text    a file, or its content, to `procq.model.Manifest`; all problems at once as ManifestError
    find               the manifest of a directory

The parsers are imported when the first file is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from procq.errors import NoManifest
from procq.model import Manifest

NAMES = ("procq.yaml", "procq.yml", "Procfile")
"""The names `find` looks for, the first match wins."""

__all__ = ["NAMES", "find", "load", "load_text"]


def load(path: Path, environ: Mapping[str, str]) -> Manifest:
    """Reads a manifest, or a Procfile where the name does not end in .yaml or .yml.

    `environ` is what `${NAME}` is taken from. Raises ManifestError with every problem of the file.
    """
    from procq.manifest import reading

    return reading.load(path, environ)


def load_text(text: bytes, path: Path, environ: Mapping[str, str]) -> Manifest:
    """As `load`, for content that has already been read; `path` is for messages and relative paths."""
    from procq.manifest import reading

    return reading.load_text(text, path, environ)


def find(directory: Path) -> Path:
    """The manifest in `directory`. Raises NoManifest."""
    for name in NAMES:
        if (directory / name).exists():
            return directory / name
    raise NoManifest(str(directory), NAMES)
