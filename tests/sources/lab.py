"""Where queues are filled by the libraries themselves, and read by procq."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from procq.scaling.place import parse
from procq.scaling.reading import Reading
from procq.scaling.sources import SourceError, connect
from tests.process.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ROOT / ".venv-libraries" / "bin"
ARQ = ROOT / ".venv-arq" / "bin"
PATIENCE = 30.0  # seconds; only ever spent by a test that fails
ZONE = "Asia/Kolkata"
"""Where the libraries are: whoever takes local time for UTC is found out by hours, and a half."""
HOLD = """
import os, time
def hold():
    while not os.path.exists(os.environ["FREE"]):
        time.sleep(0.02)
"""
"""A job that runs until the file FREE is there."""


def read(url: str, queue: str = "work", within: float = 0.0, timeout: float = 3.0) -> Reading:
    """What procq reads there; raises what it cannot read."""
    place = parse(url, queue)
    connection = connect(place, timeout)
    try:
        (found,) = connection.read([place], within)
    finally:
        connection.close()
    if isinstance(found, SourceError):
        raise found
    return found


@dataclass
class Lab:
    """A folder with apps in it, and the programs of some environment."""

    folder: Path
    bin: Path = LIBRARIES
    environment: dict[str, str] = field(default_factory=dict)

    def app(self, name: str, code: str) -> None:
        """Writes a module that programs can import."""
        (self.folder / f"{name}.py").write_text(code)

    def run(self, *command: str | Path) -> str:
        """What a command prints; fails where it does."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout

    def python(self, code: str) -> str:
        """Runs a program of the environment's Python."""
        return self.run(self.bin / "python", "-c", code)

    @contextmanager
    def worker(self, *command: str | Path) -> Iterator[None]:
        """Runs a worker, which is killed at the end: what it has at hand is to stay that way."""
        log = self.folder / "worker.log"
        with (
            log.open("ab") as file,
            subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            ) as worker,
        ):
            try:
                yield
            finally:
                # Children that have left its group end too: there is the file for which their jobs wait.
                self.free()
                os.killpg(worker.pid, signal.SIGKILL)

    def free(self) -> None:
        """Lets jobs end that hold."""
        (self.folder / "free").touch()

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            "FREE": str(self.folder / "free"),
            "TZ": ZONE,
            **self.environment,
        }


def reads(url: str, expected: Reading, queue: str = "work", within: float = 0.0) -> None:
    """Waits until it reads this, whatever the age is."""

    def seen() -> Reading | None:
        found = read(url, queue, within)
        return found if counts(found) == counts(expected) else None

    until(seen, lambda: f"{expected}, not {read(url, queue, within)}", PATIENCE)


def counts(reading: Reading) -> Sequence[float | None]:
    """All but the age."""
    return reading.waiting, reading.running, reading.delayed


def with_soon(reading: Reading) -> Sequence[float | None]:
    """All but the age, and those of the waiting ones that are not due yet."""
    return *counts(reading), reading.soon


def is_young(reading: Reading) -> bool:
    """Whether its oldest job is known, and as old as one of this test can be."""
    return reading.oldest is not None and 0 <= reading.oldest < PATIENCE
