"""Shows what runs: every queue, or the workers of the targets.

  procq status                 all queues, and what needs a person
  procq status emails          the workers of one queue
  procq status -w              keep showing it
  procq status --json          for programs: workers included, times in seconds

A number behind → is what a queue is on its way to; one in parentheses is the range that the manifest gives.
Where workers report jobs: RATE is of the last minute, P95 what 95 % of the jobs have taken at most, BUSY how many are
at work now, with the share of the workers' time that jobs took in the last minute.
"""

from __future__ import annotations

import argparse
import time

from procq import wire
from procq.cli.project import TARGETS, client_of
from procq.cli.render.status import project_lines, worker_lines
from procq.cli.terminal import Terminal

_EVERY = 0.5
_HOME, _REST, _CLEAR_LINE = "\x1b[H", "\x1b[J", "\x1b[K"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq status`."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=TARGETS)
    parser.add_argument("-w", "--watch", action="store_true", help="show it again and again, until ^C")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the state once, or until interrupted."""
    client = client_of(options)
    if options.json:
        status = client.status(options.targets or ["*"])
        terminal.line(wire.to_json(status, indented=terminal.is_terminal))
        return 0
    if not options.watch:
        terminal.lines(_lines(client.status(options.targets), options, terminal))
        return 0
    first = True
    while True:
        lines = _lines(client.status(options.targets), options, terminal)
        if terminal.is_terminal:
            start = "\x1b[2J" + _HOME if first else _HOME
            terminal.write(start + "".join(f"{line}{_CLEAR_LINE}\n" for line in terminal.fit(lines)) + _REST)
        else:
            terminal.lines((*lines, ""))
        first = False
        time.sleep(_EVERY)


def _lines(status: wire.StatusView, options: argparse.Namespace, terminal: Terminal) -> list[str]:
    if options.targets:
        return worker_lines(status.workers, terminal.style)
    return project_lines(status, terminal.style, time.time())
