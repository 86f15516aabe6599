"""Follows the events of a procq, over every death of its control plane, and keeps what was told of ends."""

from __future__ import annotations

import re
import threading
import time

from procq import wire
from procq.client import Client
from procq.errors import ProcqError

_STATUS = re.compile(r"exit code \d+|SIG\w+|signal \d+")
_PAUSE = 0.02
_IDS = 1_000_000_000
"""Each control plane counts its events from another multiple of this."""


class Witness(threading.Thread):
    """`told`: worker, pid and status of each end whose beginning was told as well.

    Those that began before a control plane died are in `unsure`: it may have heard of their end, and of their
    successor's beginning, and have told nobody.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.told: list[tuple[str, int, str]] = []
        self.unsure: list[tuple[str, int, str]] = []
        self._client = client
        self._over = threading.Event()
        self._last: int | None = None
        self._running: dict[str, tuple[int, int]] = {}

    def run(self) -> None:
        while not self._over.is_set():
            try:
                for event in self._client.events(after=self._last):
                    self._last = event.id
                    self._hear(event)
            except (ProcqError, OSError, ValueError):
                time.sleep(_PAUSE)

    def finish(self) -> None:
        """To be called once the procq has ended: that ends the conversation."""
        self._over.set()
        self.join(10)

    def _hear(self, event: wire.EventView) -> None:
        worker = event.worker or ""
        epoch = event.id // _IDS
        if event.kind == "started":
            self._running[worker] = (epoch, int(re.findall(r"pid (\d+)", event.text)[0]))
        elif event.kind in ("exited", "left") and worker in self._running:
            status = _STATUS.match(event.text)
            began, pid = self._running.pop(worker)
            (self.told if began == epoch else self.unsure).append((worker, pid, status[0] if status else event.text))
