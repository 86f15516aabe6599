"""Replaces running workers by new ones, and starts stopped ones. The new ones run the manifest in force.

  procq restart emails            every worker of the queue, all at once
  procq restart emails.2          one of them
  procq restart --rolling emails  a few at a time, as `update` in the manifest says
  procq restart --all             every queue

A worker leaves as its stop policy says before the next one takes its slot. With --rolling, a new worker that fails
halts the rest: what has not been replaced goes on running.
Returns once the new ones run. Exit code: 1 where one failed, or the rest was halted.
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
    parser.add_argument("--rolling", action="store_true", help="a few at a time, as the manifest's `update` says")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Replaces the targets and waits until the new workers run."""
    targets = chosen(options, "restart")
    client = client_of(options)
    before = {worker.id: worker.generation for worker in client.workers(targets)}
    affected = client.restart(targets, rolling=options.rolling)
    return finish(client, affected, terminal, replace(RUNNING, done="replaced", newer_than=before), options)
