"""Stops every worker, then procq itself. Works also while its control plane does not.

  procq down                   ask each worker to leave, wait for its grace period, kill what is left
  procq down --now             kill at once

^C leaves `procq down`; the shutdown goes on.
"""

from __future__ import annotations

import argparse

from procq.cli.project import client_of
from procq.cli.terminal import Terminal
from procq.client import Progress, Stopped
from procq.text import count, duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq down`."""
    parser.add_argument("--now", action="store_true", help="do not ask the workers, kill them")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Stops everything and shows how far it is."""
    total = 0
    for step in client_of(options).stop(fast=options.now):
        match step:
            case Progress(alive, total, left):
                terminal.progress(
                    f"stopping {count(total, 'worker')}: {total - alive} gone, up to {duration(left)} left …"
                )
            case Stopped(killed):
                note = f", {count(killed, 'process', 'processes')} had to be killed" if killed else ""
                terminal.line(f"stopped {count(total, 'worker')}{note}" if total else f"stopped{note}")
    return 0
