"""Shows what another manifest would change, before it is saved over the one in force.

  procq plan draft.yaml        queue by queue: + new, ~ changed in place, ± replaced, - removed
  procq plan                   the manifest itself: whether what runs is what it says
  procq plan --json draft.yaml

Exit code: 0 nothing would change, 2 something would, 4 the manifest is not valid.
"""

from __future__ import annotations

import argparse

from procq import wire
from procq.cli.project import client_of
from procq.cli.render.plan import plan_lines
from procq.cli.terminal import Terminal
from procq.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq plan`."""
    parser.add_argument("draft", nargs="?", metavar="FILE", help="what might become the manifest (default: itself)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the differences; the exit code says whether there are any."""
    plan = client_of(options).plan(options.draft)
    if options.json:
        terminal.line(wire.to_json(plan, indented=terminal.is_terminal))
    else:
        terminal.lines(plan_lines(plan, terminal.style))
    return ExitCode.DIFFERENCES if plan.changes else ExitCode.DONE
