"""Says why a queue has as many workers as it has: what was known, what was calculated, what decided.

  procq why emails             the decision that holds now, and the changes before it
  procq why emails -n 50       more of those
  procq why emails --json      for programs
  procq why emails --from FILE what decided by a file that `procq events --dump` wrote

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
    parser.add_argument("--from", dest="recording", metavar="FILE", help="a file that `procq events --dump` wrote")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Explains one queue."""
    number = max(0, options.number)
    found = _recorded(options, number) if options.recording else client_of(options).decisions(options.queue, number)
    if options.json:
        terminal.line(wire.to_json(found, indented=terminal.is_terminal))
    else:
        terminal.lines(why_lines(found.decisions, terminal.style, time.time()))
    return 0


def _recorded(options: argparse.Namespace, number: int) -> wire.DecisionList:
    from pathlib import Path

    from procq.errors import ProcqError
    from procq.journal.recorder import Recording

    found = Recording(Path(options.recording)).decisions(options.queue)
    if not found:
        raise ProcqError(f"{options.recording} has no decision about {options.queue}")
    return wire.DecisionList(tuple(found[: number + 1]))
