"""What is read besides the manifest: included files and files of variables."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from procq.errors import ManifestError, Problem
from procq.manifest import env_file
from procq.manifest.fields import Found
from procq.manifest.source import MAX_BYTES, Source

Read = Callable[[str], bytes]
"""Content of a file by absolute path, at most a byte more than a file may have. Raises OSError."""

_MAX_FILES = 1_000
_MAX_TOTAL = 16 << 20
_MAGIC = re.compile(r"[*?[]")


class Beside:
    """Reads the files that a manifest names, and remembers which, and what is wrong with them.

    Relative paths begin in the directory of `main`, as it was named: so are they shown.
    """

    def __init__(self, main: Path, read: Read) -> None:
        self._main = os.path.abspath(main)
        self._shown = os.path.dirname(main)
        self._read = read
        self._total = 0
        self._variables: dict[str, Mapping[str, str]] = {}
        self._manifests: set[str] = set()
        self.problems: list[Problem] = []
        self.files: dict[str, None] = {}
        """Absolute paths and patterns, as in `Manifest.files`."""

    def variables(self, found: Found, path: str) -> Mapping[str, str]:
        """The variables in a file that is named at `found`; none where it has a problem, which is noted."""
        absolute = self.absolute(path)
        if absolute not in self._variables:
            self.files[glob.escape(absolute)] = None
            self._variables[absolute] = {}
            data = self._content(found, absolute, path)
            if data is not None:
                try:
                    self._variables[absolute] = env_file.parse(data, os.path.join(self._shown, path))
                except ManifestError as error:
                    self.problems += error.problems
        return self._variables[absolute]

    def manifests(self, found: Found, pattern: str) -> Iterator[Source]:
        """The files that a path or a pattern at `found` names, each once in the life of this object."""
        for path in self._matches(found, pattern):
            absolute = self.absolute(path)
            if absolute in self._manifests:
                continue
            self._manifests.add(absolute)
            if len(self._manifests) > _MAX_FILES:
                found.problem(f"more than {_MAX_FILES} files are included", "is this the right pattern?")
                return
            data = self._content(found, absolute, path)
            if data is None:
                continue
            try:
                yield Source(data, os.path.join(self._shown, path))
            except ManifestError as error:
                self.problems += error.problems

    def absolute(self, path: str) -> str:
        """Where a path leads that is relative to the manifest."""
        return os.path.normpath(os.path.join(os.path.dirname(self._main), path))

    def _matches(self, found: Found, pattern: str) -> list[str]:
        if not _MAGIC.search(pattern):
            self.files[glob.escape(self.absolute(pattern))] = None
            if self.absolute(pattern) == self._main:
                found.problem("a manifest cannot include itself", "take it out")
                return []
            return [pattern]
        directory = os.path.dirname(self._main)
        absolute = os.path.normpath(os.path.join(glob.escape(directory), pattern))
        self.files[absolute] = None
        matches = [match for match in sorted(glob.glob(absolute)) if match != self._main]
        return matches if os.path.isabs(pattern) else [match.removeprefix(f"{directory}/") for match in matches]

    def _content(self, found: Found, absolute: str, path: str) -> bytes | None:
        try:
            data = self._read(absolute)
        except OSError as error:
            found.problem(f"{path} cannot be read: {error.strerror}", "check its name and permissions")
            return None
        self._total += len(data)
        if self._total > _MAX_TOTAL:
            found.problem("the files named here are larger than 16 MiB together", "are these the right files?")
            return None
        return data


def read_file(path: str) -> bytes:
    """The content of a regular file, at most a byte more than a manifest may have. Raises OSError."""
    with open(path, "rb", opener=_open) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(None, "it is not a regular file")
        return file.read(MAX_BYTES + 1)


def _open(path: str, flags: int) -> int:
    # A FIFO would block without O_NONBLOCK, before it can be seen to be one.
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
