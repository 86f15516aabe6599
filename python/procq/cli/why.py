"""Says why a queue has as many workers as it has: what was known, what was calculated, what decided.

  procq why emails             the decision that holds now, and the changes before it
  procq why emails -n 50       more of those
  procq why emails --json      for programs

A queue scales where the manifest gives its workers a range and says by what: see `source`, `scale` and `schedule`.
"""

from __future__ import annotations

import argparse
import time

from procq import wire
from procq.cli.project import client_of
from procq.cli.render.why import why_lines
from procq.cli.terminal import Terminal

_CHANGES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq why`."""
    parser.add_argument("queue", metavar="QUEUE", help="the queue")
    parser.add_argument("-n", "--number", type=int, default=_CHANGES, metavar="N", help="how many changes before (5)")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Explains one queue."""
    found = client_of(options).decisions(options.queue, max(0, options.number))
    if options.json:
        terminal.line(wire.to_json(found, indented=terminal.is_terminal))
    else:
        terminal.lines(why_lines(found.decisions, terminal.style, time.time()))
    return 0
