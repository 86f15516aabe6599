"""A whole procq for one benchmark: sentinel, keeper, control plane, in a scratch folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from benches.programs import PATIENCE, Stuck
from procq.client import Client
from procq.errors import ProcqError
from procq.paths import locate

PROCQ = Path(sys.executable).with_name("procq")
_AT_ONCE = "host:\n  starts: 10000 in 1s\n"
"""What is measured is how fast procq can start workers, not how fast it is told to."""


@dataclass(frozen=True, slots=True)
class Pids:
    """The three processes."""

    sentinel: int
    keeper: int
    control_plane: int

    @property
    def all(self) -> tuple[int, int, int]:
        """All three."""
        return self.sentinel, self.keeper, self.control_plane


class Stack:
    """Runs a manifest; ends it with all its workers when left."""

    def __init__(
        self,
        scratch: Path,
        manifest: str,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`environ` is added to the environment, from which what asks for telemetry is taken."""
        self.manifest = scratch / "procq.yaml"
        self._stdout = stdout
        places = {"XDG_RUNTIME_DIR": str(scratch), "XDG_STATE_HOME": str(scratch)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self._environ = {**inherited, **places, **(environ or {})}
        self.save(manifest)
        self.project = locate(str(self.manifest), None, self._environ)
        self.client = Client(self.project)
        self.began = 0.0

    def __enter__(self) -> Stack:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [PROCQ, "up", self.manifest],
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            env=self._environ,
            start_new_session=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Stuck("procq did not end") from error

    def save(self, manifest: str) -> None:
        """Replaces the manifest as an editor does: by a rename."""
        beside = self.manifest.with_suffix(".new")
        beside.write_text(_AT_ONCE + manifest)
        beside.rename(self.manifest)

    def command(self, *arguments: str) -> list[str]:
        """A command line for this project."""
        return [str(PROCQ), arguments[0], "--file", str(self.manifest), *arguments[1:]]

    def run(self, *arguments: str) -> None:
        """Runs a command to its end. Raises CalledProcessError."""
        subprocess.run(self.command(*arguments), env=self._environ, check=True, stdout=subprocess.DEVNULL)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a command whose output is a pipe."""
        return subprocess.Popen(self.command(*arguments), env=self._environ, stdout=subprocess.PIPE)

    def ready(self) -> Pids:
        """Waits until the API answers and no worker is starting."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                info = self.client.info()
            except ProcqError:
                info = None
            if info is not None and info.ready and info.control_plane is not None:
                return Pids(info.sentinel, info.pid, info.control_plane)
            time.sleep(0.01)
        raise Stuck("procq did not become ready")


def queue(command: Sequence[str], workers: int, **keys: str) -> str:
    """A manifest of one queue, `w`. Further keys have an underscore for the level: `stop_grace="2s"`."""
    lines = ["queues:", "  w:", f"    workers: {workers}", "    command:", *(f"      - {word}" for word in command)]
    for key, value in keys.items():
        outer, _, inner = key.partition("_")
        lines += [f"    {outer}:", f"      {inner}: {value}"]
    return "\n".join(lines) + "\n"
