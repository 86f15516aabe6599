"""Shows what happened: starts, exits, restarts, changes, as far as it is remembered.

  procq events                 what is remembered
  procq events -f              and what happens next, until ^C
  procq events --json          a JSON document a line

Remembered are the last few thousand, since the control plane started.
"""

from __future__ import annotations

import argparse

from procq import wire
from procq.cli.project import client_of
from procq.cli.render.events import event_line
from procq.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq events`."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens from now on")
    parser.add_argument("--json", action="store_true", help="a JSON document a line")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Prints events until their end, or until interrupted."""
    for event in client_of(options).events(follow=options.follow):
        terminal.line(wire.to_json(event) if options.json else event_line(event, terminal.style))
    return 0
