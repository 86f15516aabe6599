"""Has workers take jobs again that were paused.

  procq resume emails          every worker of the queue
  procq resume emails.2        one of them
  procq resume --all           every queue

Returns once they take jobs. Exit code: 1 where one cannot be told, or does not listen.
"""

from __future__ import annotations

import argparse

from procq.cli.pausing import wait_for_pause
from procq.cli.project import client_of
from procq.cli.targets import add_targets, chosen
from procq.cli.terminal import Terminal
from procq.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq resume`."""
    add_targets(parser)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Resumes the targets and waits until they take jobs."""
    client = client_of(options)
    affected = client.set_paused(chosen(options, "resume"), False)
    return ExitCode.DONE if options.no_wait else wait_for_pause(client, affected, terminal, paused=False)
