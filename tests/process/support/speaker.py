"""A worker that says to its notify socket what it is told to say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.process.support import processes
from tests.process.support.keeper import Keeper, program
from tests.process.support.waiting import until


class Speaker:
    """Started by `keeper` as `worker`; makes a FIFO in `folder` by which it gets its orders."""

    def __init__(
        self,
        keeper: Keeper,
        folder: Path,
        worker: str = "w.1",
        *flags: str,
        program_name: str = "speaker.py",
        **spawn: Any,
    ) -> None:
        self.fifo = folder / f"{worker}.{len(list(folder.iterdir()))}"
        os.mkfifo(self.fifo)
        self.fifo.chmod(0o666)
        spawn = {"ready": "notify", **spawn}
        self.generation, self.pid = keeper.run(program(program_name, self.fifo, *flags), worker, **spawn)
        self._orders = open(self.fifo, "w", buffering=1)  # noqa: SIM115
        self._given: list[str] = []

    @property
    def socket(self) -> str:
        """Its notify socket, as an address of Python's."""
        return "\0" + processes.environment(self.pid)["NOTIFY_SOCKET"].removeprefix("@")

    def says(self, *orders: str) -> None:
        """Waits until it has carried them out."""
        for order in orders:
            self.begins(order)
        until(lambda: self._done() == self._given, f"{orders} to be said")

    def begins(self, order: str) -> None:
        """Does not wait."""
        print(order, file=self._orders)
        self._given.append(order)

    def _done(self) -> list[str]:
        done = Path(f"{self.fifo}.done")
        return done.read_text().splitlines() if done.exists() else []

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
