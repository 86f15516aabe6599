"""Stops every worker, then procq itself. Works also while its control plane does not.

  procq down                   ask each worker to leave, wait for its grace period, kill what is left
  procq down --now             kill at once

It says which jobs it waits for, where workers tell. ^C leaves `procq down`; the shutdown goes on.
"""

from __future__ import annotations

import argparse
import time

from procq.cli.project import client_of
from procq.cli.terminal import Terminal
from procq.client import Client, Progress, Stopped
from procq.errors import ProcqError
from procq.text import count, duration, listing
from procq.wire import WorkerView

_LOOK = 1.0
"""Seconds between two looks at what workers are at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq down`."""
    parser.add_argument("--now", action="store_true", help="do not ask the workers, kill them")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Stops everything and shows how far it is."""
    total, client = 0, client_of(options)
    busy = _Busy(client_of(options, timeout=_LOOK), terminal)
    for step in client.stop(fast=options.now):
        match step:
            case Progress(alive, total, left):
                waits = busy.look() if alive and not options.now else ""
                gone = f"{total - alive} gone, up to {duration(left)} left"
                terminal.progress(f"stopping {count(total, 'worker')}: {gone} …{waits}")
            case Stopped(killed):
                note = f", {count(killed, 'process', 'processes')} had to be killed" if killed else ""
                terminal.line(f"stopped {count(total, 'worker')}{note}" if total else f"stopped{note}")
    return 0


class _Busy:
    """What the workers that are left finish: each is said once, and what it is at now beside the progress."""

    def __init__(self, client: Client, terminal: Terminal) -> None:
        self._client, self._terminal = client, terminal
        self._look_at = 0.0
        self._said: set[str] = set()
        self._words = ""

    def look(self) -> str:
        """The jobs that are waited for, as an addition to the progress."""
        if time.monotonic() < self._look_at:
            return self._words
        workers = self._busy()
        self._look_at = time.monotonic() + _LOOK
        if new := [each for each in workers if each.id not in self._said]:
            self._terminal.lines(f"{each.id}: {each.detail}" for each in new)
            self._said.update(each.id for each in new)
        self._words = f" {listing([f'{each.id} {each.detail}' for each in workers], most=2)}" if workers else ""
        return self._words

    def _busy(self) -> list[WorkerView]:
        try:
            workers = self._client.status(["*"]).workers
        except ProcqError:
            # The control plane is not needed to stop everything.
            return []
        return [each for each in workers if each.state == "stopping" and each.busy and each.detail]
