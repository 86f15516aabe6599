"""A file system that does not answer, and with it processes that no signal ends."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.support.keeper import WORKERS

_DETACH = 2


class Hanging:
    """One below `folder`, which is made for it. Skips the test where that is not possible."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        command = [sys.executable, str(WORKERS / "hanging.py"), str(folder)]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if (said := self._said()) != "mounted":
            self._server.wait()
            pytest.skip(said)

    def wait(self) -> None:
        """Until somebody hangs in it: before his request was taken a signal could still end him."""
        assert self._said() == "asked"

    def let_go(self) -> None:
        """Ends every wait with an error."""
        self._server.kill()
        self._server.wait()

    def remove(self) -> None:
        self.let_go()
        assert self._server.stdout is not None
        self._server.stdout.close()
        ctypes.CDLL(None).umount2(os.fsencode(self.folder), _DETACH)

    def _said(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()


@contextmanager
def hanging(folder: Path) -> Iterator[Hanging]:
    """Gone at the end, and whoever hung in it with it."""
    made = Hanging(folder)
    try:
        yield made
    finally:
        made.remove()
