"""Shows what another manifest would change, before it is saved over the one in force.

  procq plan draft.yaml        queue by queue: + new, ~ changed in place, ± replaced, - removed
  procq plan                   the manifest itself: whether it is in force as it is saved
  procq plan --json draft.yaml

Nothing is changed. What is shown is planned by the same planner that acts when the file is saved; how long it takes is
said as the least (when every worker leaves at once) and the most (when each uses up its grace period).

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
    return show(client_of(options).plan(options.draft), options, terminal)


def show(plan: wire.PlanView, options: argparse.Namespace, terminal: Terminal, *, running: bool = True) -> int:
    """Prints a plan, as text or JSON, and returns the exit code that goes with it."""
    if options.json:
        terminal.line(wire.to_json(plan, indented=terminal.is_terminal))
    else:
        terminal.lines(plan_lines(plan, terminal.style, running=running))
    return ExitCode.DIFFERENCES if plan.changes else ExitCode.DONE
