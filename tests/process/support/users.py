"""Another user for workers: numbers that nobody has, because a user needs no name to run something."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.process.support.keeper import WORKERS

UID: Final = 54_321
GID: Final = 54_322
GROUPS: Final = (54_322, 54_323)
SOMEBODY: Final[dict[str, Any]] = {"uid": UID, "gid": GID, "groups": list(GROUPS)}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run workers as other users")


def folder_for_all() -> Iterator[Path]:
    """A folder that every user may enter and write to, with the programs of tests/process/workers in it."""
    folder = Path(tempfile.mkdtemp(prefix="procq-all-", dir="/tmp"))
    try:
        for file in WORKERS.glob("*.py"):
            shutil.copy(file, folder / file.name)
            (folder / file.name).chmod(0o644)
        folder.chmod(0o777)
        yield folder
    finally:
        shutil.rmtree(folder)


@cache
def python() -> str | None:
    """An interpreter that this user gets at: one in root's home is out of his reach, the system's is not."""
    return next(filter(_may_run, (sys.executable, "/usr/bin/python3")), None)


def _may_run(interpreter: str) -> bool:
    command = [interpreter, "-I", "-S", "-c", ""]
    try:
        return subprocess.run(command, user=UID, group=GID, extra_groups=[], check=False).returncode == 0
    except OSError:
        return False


def program(folder: Path, name: str, *arguments: object) -> list[str]:
    """The command of a program in such a folder."""
    interpreter = (python() if os.geteuid() == 0 else None) or sys.executable
    return [interpreter, "-I", "-S", str(folder / name), *map(str, arguments)]
