"""Another version of procq, installed somewhere else: an environment of its own with a copy of the package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import Any

import procq
from tests.process.support.project import Procq

PATIENCE = 120.0
"""Seconds for `procq upgrade`; only ever spent by a test that fails."""


class Version:
    """An installed procq that calls itself `name`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._folder = folder / f"procq-{name}"
        venv.create(self._folder, symlinks=True)
        self.python = self._folder / "bin" / "python"
        site = next((self._folder / "lib").iterdir()) / "site-packages"
        self.package = site / "procq"
        shutil.copytree(
            Path(procq.__file__).parent, self.package, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
        )
        # What procq depends on comes from where the tests run.
        (site / "others.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
        self.change("core.py", "\n# A bare interpreter", f'\nVERSION = "{name}"\n# A bare interpreter')

    @property
    def extension(self) -> Path:
        """The Rust half."""
        return next(self.package.glob("_core*.so"))

    def change(self, file: str, old: str, new: str) -> None:
        """Another text in one of its files."""
        text = (self.package / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (self.package / file).write_text(text.replace(old, new, 1))

    def install(self, extension: bytes) -> None:
        """Other bytes under the name of its Rust half, as an installation puts them there."""
        path = self.extension
        path.unlink()
        path.write_bytes(extension)

    def upgrade(self, running: Procq, *arguments: str, code: int = 0) -> str:
        """`procq upgrade` of this version: what it says."""
        done = subprocess.run(
            [self.python, "-m", "procq.cli", "upgrade", *arguments],
            cwd=running.folder,
            env=running.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"procq upgrade: {done.returncode}\n{said}\n{running.said()}"
        return said

    def take_over(self, running: Procq) -> dict[str, Any]:
        """The same, successfully: what it says of it."""
        told: dict[str, Any] = json.loads(self.upgrade(running, "--json"))
        assert told["to"] == self.name and told["control_plane"], told
        return told

    def remove(self) -> None:
        """As an uninstallation does."""
        shutil.rmtree(self._folder)


def running_release(running: Procq) -> str:
    """What the keeper calls itself."""
    return running.info().release


def executable(pid: int) -> str:
    """What a process was executed from."""
    return os.readlink(f"/proc/{pid}/exe")
