"""Replaces running workers by new ones, and starts stopped ones. The new ones run the manifest in force.

  procq restart emails         every worker of the queue
  procq restart emails.2       one of them
  procq restart --all          every queue

A worker leaves as its stop policy says before the next one takes its slot.
Returns once the new ones run. Exit code: 1 where one failed, or was stopped by somebody meanwhile.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from procq.cli.project import client_of
from procq.cli.targets import add_targets, chosen, finish
from procq.cli.terminal import Terminal
from procq.cli.waiting import RUNNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq restart`."""
    add_targets(parser)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Replaces the targets and waits until the new workers run."""
    targets = chosen(options, "restart")
    client = client_of(options)
    before = {worker.id: worker.generation for worker in client.workers(targets)}
    affected = client.restart(targets)
    return finish(client, affected, terminal, replace(RUNNING, done="replaced", newer_than=before), options)
