"""Starts what was stopped, and tries again at once what gave up or waits. What runs is not touched.

procq start emails           every worker of the queue
procq start emails.2         one of them
procq start --all
"""

from __future__ import annotations

import argparse

from procq.cli.project import client_of
from procq.cli.targets import add_targets, chosen, wait_for
from procq.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq start`."""
    add_targets(parser)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Starts the targets and waits until they run."""
    targets = chosen(options, "start")
    client = client_of(options)
    affected = client.set_running(targets, True)
    return wait_for(client, affected, terminal, until={"running", "finished"}, done="running", options=options)
