"""What procq is to one worker, and a worker that is held at the worst moment, by files in its folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.adapters.trial import APPS, LIBRARIES, PATIENCE, ROOT, Crew
from tests.process.support.waiting import until

REST = 1.5
"""Seconds for which nothing is to happen: longer than any look of a worker."""


class Held:
    """Hears each process of the worker for itself. `crew` has its ledger, and sends jobs."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("")
        self._socket.setblocking(False)
        self._said: dict[bytes, dict[str, str]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What the worker needs to speak to it."""
        return {"NOTIFY_SOCKET": "@" + self._socket.getsockname()[1:].decode(), "PROCQ_WORKER_ID": "work.1"}

    def close(self) -> None:
        """It hears nothing any more."""
        self._socket.close()

    def tell(self, word: str) -> None:
        """To all processes that can be told and have not ended."""
        self._hear()
        for address, said in self._said.items():
            if "X_PROCQ_PARKED" in said:
                with suppress(OSError):
                    self._socket.sendto(word.encode(), address)

    def parked(self) -> bool:
        """Whether all of them are."""
        self._hear()
        said = [each["X_PROCQ_PARKED"] for each in self._said.values() if "X_PROCQ_PARKED" in each]
        return bool(said) and set(said) == {"1"}

    def busy(self) -> int:
        """With how many jobs, all together."""
        self._hear()
        return sum(int(each.get("X_PROCQ_BUSY", 0)) for each in self._said.values())

    def ready(self) -> bool:
        """Whether one of them has said so."""
        self._hear()
        return any("READY" in each for each in self._said.values())

    def begun(self) -> int:
        """How many jobs have."""
        return self.crew.entries("began").total()

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while True:
                text, address = self._socket.recvfrom(8192)
                said = dict(re.findall(r"^(\w+)=(.*)$", text.decode(), re.MULTILINE))
                self._said.setdefault(address, {}).update(said)

    def set(self, name: str) -> None:
        """What is named so is held from now on."""
        (self.crew.folder / name).touch()

    def free(self, name: str) -> None:
        """It goes on."""
        (self.crew.folder / name).unlink()

    def wait(self, for_what: str, holds: Callable[[], object]) -> None:
        """Until it holds."""
        until(holds, lambda: f"{for_what}: {self._said}\n{(self.crew.folder / 'output').read_text()}", PATIENCE)

    def rest(self, holds: Callable[[], object]) -> None:
        """It holds, and goes on to."""
        end = time.monotonic() + REST
        while time.monotonic() < end:
            assert holds(), self._said
            time.sleep(0.02)


@contextmanager
def held(scratch: Path, command: str, environment: dict[str, str], *names: str) -> Iterator[Held]:
    """The worker runs until the end. What is named is held from the start."""
    folder = scratch / "held"
    shutil.copytree(APPS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    made = Held(Crew(folder, command, environment))
    for name in names:
        made.set(name)
    path = {"PATH": f"{LIBRARIES}:{os.environ['PATH']}", "PYTHONPATH": f"{folder}:{ROOT / 'python'}"}
    with (
        closing(made),
        (folder / "output").open("wb") as output,
        subprocess.Popen(
            command.split(),
            cwd=folder,
            env={**os.environ, **environment, **path, **made.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        ) as process,
    ):
        try:
            yield made
        finally:
            os.killpg(process.pid, signal.SIGKILL)
