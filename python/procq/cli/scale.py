"""Changes how many workers a queue has, on top of the manifest, until it is given back.

  procq scale emails=6             six workers
  procq scale emails=+2 thumbs=-1  two more, one fewer
  procq scale emails=auto          as many as the manifest says

Workers that stay are not touched; those that leave finish what they do, as long as their grace period allows.
To change it for good, edit the manifest and save it: a running procq follows.
"""

from __future__ import annotations

import argparse
import re

from procq.cli.project import client_of
from procq.cli.terminal import Terminal
from procq.errors import UsageError
from procq.text import count

_CHANGE = re.compile(r"(?P<queue>[^=]+)=(?P<workers>[+-]?[0-9]+|auto)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq scale`."""
    parser.add_argument("changes", nargs="+", metavar="QUEUE=N", help="N, +N, -N or auto")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Applies each change, after all were read."""
    changes = [_parse(text) for text in options.changes]
    client = client_of(options)
    for queue, workers in changes:
        before = client.queue(queue).desired
        after = client.scale(queue, workers)
        style = terminal.style
        name = style(after.name, "bold")
        if after.override is None:
            note = "as the manifest says"
        else:
            note = f"the manifest says {after.manifest_workers}; `procq scale {after.name}=auto` gives it back"
        if before == after.desired:
            terminal.line(f"{name}   {count(after.desired, 'worker')}, as before   {style(note, 'dim')}")
        else:
            terminal.line(f"{name}   {before} → {count(after.desired, 'worker')}   {style(note, 'dim')}")
    return 0


def _parse(text: str) -> tuple[str, str]:
    found = _CHANGE.fullmatch(text)
    if found is None:
        raise UsageError(f'"{text}" is not a change', hint="Write it as emails=6, emails=+2, emails=-1 or emails=auto.")
    return found["queue"], found["workers"]
