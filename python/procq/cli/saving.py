"""`procq scale --save`: the number goes into the file, and the queue back to the file."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from procq.cli.terminal import Terminal
from procq.client import Client
from procq.errors import ProcqError
from procq.text import count

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE = 15.0
"""Seconds in which the control plane takes a saved file, however large."""
_EVERY = 0.01


def save(client: Client, queue: str, workers: int, terminal: Terminal) -> None:
    """Writes `workers` as the number of `queue`, waits until the manifest is in force, then ends the override.

    No worker is touched: until then the override says the same number. Raises ProcqError where the file cannot be
    edited or does not load; the override stays in force then.
    """
    from pathlib import Path

    from procq.manifest import edit

    status = client.status()
    if status.manifest_error is not None:
        raise ProcqError(
            "the manifest on disk is not in force, so nothing was written into it",
            hint="`procq status` says why. Mend it, then save the number again.",
        )
    file = edit.find(Path(status.manifest), queue)
    name = os.path.relpath(file)
    written = edit.save(file, lambda text: edit.set_workers(text, queue, workers, name))
    _wait_until_taken(client, queue, workers, file, name)
    if client.queue(queue).override == workers:  # somebody may have changed it again meanwhile: that counts
        client.scale(queue, "auto")
    what = "saved in" if written else "as it stands already in"
    terminal.line(f"{terminal.style(queue, 'bold')}   {count(workers, 'worker')}, {what} {name}")


def _wait_until_taken(client: Client, queue: str, workers: int, file: Path, name: str) -> None:
    from procq.manifest import edit

    deadline = time.monotonic() + _PATIENCE
    while client.queue(queue).manifest_workers != workers:
        text = file.read_bytes()
        if edit.set_workers(text, queue, workers, name) != text:
            raise ProcqError(
                f"somebody saved another number in {name} meanwhile",
                hint=f"`procq scale {queue}=auto` follows the file.",
            )
        if client.status().manifest_error is not None:
            raise ProcqError(
                f"{name} has the number now, and is not valid in another place",
                hint=f"`procq check` says where. Once it is, `procq scale {queue}=auto` follows the file.",
            )
        if time.monotonic() > deadline:
            raise ProcqError(
                f"{name} has the number now, but has not been put in force for {_PATIENCE:g} s",
                hint=f"`procq events` tells why. `procq scale {queue}=auto` follows the file.",
            )
        time.sleep(_EVERY)
