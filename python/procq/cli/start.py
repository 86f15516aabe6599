"""Starts what was stopped, and tries again at once what gave up or waits. What runs is not touched.

  procq start emails           every worker of the queue
  procq start emails.2         one of them
  procq start --all            every queue

Returns once they run. Exit code: 1 where one failed again, or was stopped by somebody meanwhile.
"""

from __future__ import annotations

import argparse

from procq.cli.project import client_of
from procq.cli.targets import add_targets, chosen, finish
from procq.cli.terminal import Terminal
from procq.cli.waiting import RUNNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq start`."""
    add_targets(parser)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Starts the targets and waits until they run."""
    targets = chosen(options, "start")
    client = client_of(options)
    affected = client.set_running(targets, True)
    return finish(client, affected, terminal, RUNNING, options)
