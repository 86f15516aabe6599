"""Shows the output of the workers, from memory. Works also while the control plane does not.

  procq logs                   the last lines of every worker
  procq logs -f emails         follow the workers of one queue
  procq logs -n 100 emails.2   the last hundred lines of one worker

Lines are shown as `worker | line`. On a terminal, colours pass and every other control sequence is taken out; into a
pipe go the bytes as they were written.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence

from procq.cli.project import TARGETS, client_of
from procq.cli.render.logs import LogRenderer
from procq.cli.terminal import Terminal
from procq.client import Client, ControlPlaneSilent, Refused
from procq.errors import NotRunning

_PATIENCE = 1.0
"""Seconds in which the control plane may say whether a target exists."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq logs`."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=TARGETS)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what the workers write from now on")
    parser.add_argument(
        "-n", "--tail", type=_lines, default=20, metavar="N", help="lines of each worker to begin with (20)"
    )


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Copies output until its end, or until interrupted."""
    renderer = LogRenderer(terminal.style, raw=not terminal.is_terminal)
    out = sys.stdout.buffer
    client = client_of(options, _PATIENCE)
    if options.follow:
        try:
            _check(client, options.targets)
        except Refused as mistake:
            # It may still come to be.
            terminal.fail(mistake)
    silent = True
    for piece in client.logs(options.targets, options.tail, options.follow):
        silent = False
        out.write(renderer.render(piece))
        if options.follow:
            out.flush()
    out.flush()
    if silent and not options.follow:
        _check(client, options.targets)
    return 0


def _check(client: Client, targets: Sequence[str]) -> None:
    """Raises Refused where a target means nothing. Only the control plane knows; while it is away anything goes."""
    if targets:
        with contextlib.suppress(NotRunning, ControlPlaneSilent):
            client.workers(targets)


def _lines(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:
        raise ValueError(text)
    return number


_lines.__name__ = "number of lines"
