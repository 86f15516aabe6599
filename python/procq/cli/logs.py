"""Shows the output of the workers, from memory. Works also while the control plane does not.

  procq logs                   the last lines of every worker
  procq logs -f emails         follow the workers of one queue
  procq logs -n 100 emails.2   the last hundred lines of one worker

Lines are shown as `worker | line`. On a terminal, colours pass and every other control sequence is taken out; into a
pipe go the bytes as they were written.
"""

from __future__ import annotations

import argparse
import sys

from procq.cli.project import TARGETS, client_of
from procq.cli.render.logs import LogRenderer
from procq.cli.terminal import Terminal


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
    for piece in client_of(options).logs(options.targets, options.tail, options.follow):
        out.write(renderer.render(piece))
        if options.follow:
            out.flush()
    out.flush()
    return 0


def _lines(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:
        raise ValueError(text)
    return number


_lines.__name__ = "number of lines"
