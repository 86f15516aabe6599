"""Stops queues or workers, and keeps them so until `procq start`, also over changes of the manifest.

  procq stop emails            every worker of the queue
  procq stop emails.2          one of them
  procq stop --all             all of them; procq itself stays (`procq down` ends it too)

Each worker gets its stop signal and its grace period; what is left of its processes then is killed.
Returns once they are gone. Exit code: 1 where somebody started one again meanwhile.
"""

from __future__ import annotations

import argparse

from procq.cli.project import client_of
from procq.cli.targets import add_targets, chosen, finish
from procq.cli.terminal import Terminal
from procq.cli.waiting import STOPPED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq stop`."""
    add_targets(parser)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Stops the targets and waits until they are gone."""
    targets = chosen(options, "stop")
    client = client_of(options)
    affected = client.set_running(targets, False)
    return finish(client, affected, terminal, STOPPED, options)
