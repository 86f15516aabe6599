"""What start, stop and restart have in common: their targets, and whether to wait."""

from __future__ import annotations

import argparse

from procq import wire
from procq.cli.project import TARGETS
from procq.cli.terminal import Terminal
from procq.cli.waiting import Goal, wait_for
from procq.client import Client
from procq.errors import ExitCode, UsageError
from procq.text import count


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Adds TARGET…, --all and --no-wait."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=TARGETS)
    parser.add_argument("--all", action="store_true", help="every queue")
    parser.add_argument("--no-wait", action="store_true", help="return at once; `procq status` shows how far it is")


def chosen(options: argparse.Namespace, verb: str) -> list[str]:
    """The targets given. Raises UsageError for none, and for some together with --all."""
    if options.all and options.targets:
        raise UsageError("--all and targets exclude each other")
    if options.all:
        return ["*"]
    if not options.targets:
        raise UsageError(
            f"what should {verb}?", hint=f"Name queues or workers, as `procq {verb} emails`, or say --all."
        )
    return list(options.targets)


def finish(client: Client, affected: wire.Affected, terminal: Terminal, goal: Goal, options: argparse.Namespace) -> int:
    """Waits for what was asked, unless --no-wait was said. Returns the exit code."""
    if options.no_wait and affected.workers:
        terminal.line(f"{count(len(affected.workers), 'worker')} asked")
        return ExitCode.DONE
    return wait_for(client, affected, terminal, goal)
