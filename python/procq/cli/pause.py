"""Has workers take no more jobs, without stopping them, until `procq resume`. The job in hand is finished.

  procq pause emails           every worker of the queue, and those that it gets while it is paused
  procq pause emails.2         one of them
  procq pause --all            every queue

Works where workers say what they do: see docs/workers.md. Returns once they are at no job any more.
Exit code: 1 where one cannot be told, or does not listen.
"""

from __future__ import annotations

import argparse

from procq.cli.pausing import wait_for_pause
from procq.cli.project import client_of
from procq.cli.targets import add_targets, chosen
from procq.cli.terminal import Terminal
from procq.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq pause`."""
    add_targets(parser)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Pauses the targets and waits until they are idle."""
    client = client_of(options)
    affected = client.set_paused(chosen(options, "pause"), True)
    return ExitCode.DONE if options.no_wait else wait_for_pause(client, affected, terminal, paused=True)
