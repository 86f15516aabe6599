"""Replaces the running procq by the installed one. No worker is restarted, no line of output and no exit is lost.

  procq upgrade                after `pip install --upgrade procq`, or with the procq of another environment
  procq upgrade --json         what became of it as one JSON document

The version to become is the one whose `procq` you call. It is tried first, on a copy of what the running one holds;
where it does not work, or does not answer, the running one goes on as if nothing had been asked.

Exit code: 0 done; 1 refused, or the new control plane does not work yet; 3 not running.
"""

from __future__ import annotations

import argparse
import json
import os
import time

from procq import core
from procq.cli.hosting import control_command
from procq.cli.project import client_of
from procq.cli.terminal import Terminal
from procq.client import Client, Refused, Upgraded
from procq.errors import ExitCode, NotRunning, ProcqError
from procq.text import count

PATIENCE = 60.0
"""Seconds for the control plane of the new version to work."""
_EVERY = 0.05


class NotUpgraded(ProcqError):
    """The running version goes on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq upgrade`."""
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Asks for it, then waits for the new control plane."""
    client = client_of(options)
    began = time.monotonic()
    running = client.info().release
    if not running:
        raise NotUpgraded(
            f"what runs is a procq from before there were upgrades, and cannot become {core.VERSION}",
            hint="`procq down`, then `procq up`.",
        )
    terminal.progress(f"trying {core.VERSION} on a copy of what {running} holds …")
    try:
        done = client.upgrade(core.upgrade_order(control_command(), f"uid {os.getuid()}, pid {os.getpid()}"))
    except Refused as refusal:
        terminal.clear_progress()
        raise NotUpgraded(
            f"not upgraded to {core.VERSION}: {refusal}", hint=f"{running} goes on; no worker was touched."
        ) from None
    terminal.progress("the control plane is replaced …")
    works = _wait(client, done)
    terminal.clear_progress()
    _tell(done, works, time.monotonic() - began, options, terminal)
    return ExitCode.DONE if works else ExitCode.FAILED


def _wait(client: Client, done: Upgraded) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        info = client.info()
        if info.shutting_down:
            raise NotRunning("it is being stopped")
        if info.ready and info.starts > done.starts:
            return True
        time.sleep(_EVERY)
    return False


def _tell(done: Upgraded, works: bool, seconds: float, options: argparse.Namespace, terminal: Terminal) -> None:
    if options.json:
        told = {
            "from": done.former,
            "to": done.release,
            "workers": done.workers,
            "seconds": round(seconds, 3),
            "held": round(done.held, 3),
            "control_plane": works,
        }
        terminal.line(json.dumps(told))
        return
    change = f"upgraded from {done.former} to {done.release}"
    if done.former == done.release:
        change = f"replaced {done.former} by itself"
    terminal.line(
        f"{change} in {seconds:.1f} s   {count(done.workers, 'worker')} kept;"
        f" for {round(done.held * 1000)} ms their output waited"
    )
    if not works:
        terminal.line(
            f"its control plane does not work yet, and is tried again: {terminal.style('procq logs', 'bold')}"
        )
