"""Changes how many workers a queue has: on top of the manifest until it is given back, or in the manifest.

  procq scale emails=6             six workers
  procq scale emails=+2 thumbs=-1  two more, one fewer
  procq scale emails=auto          as many as the manifest says
  procq scale emails=6 --save      six workers, and the number is written into the manifest
  procq scale emails --save        writes the number of workers that it has been given by hand

Workers that stay are not touched; those that leave finish what they do, as long as their grace period allows.
`--save` changes the one line of the file and nothing else in it. Where the number cannot be written (it stands for a
${VARIABLE}, or is a range) it stays in force without the file.
"""

from __future__ import annotations

import argparse
import re

from procq.cli.project import client_of
from procq.cli.saving import save
from procq.cli.terminal import Terminal
from procq.client import Client
from procq.errors import ExitCode, ProcqError, UsageError
from procq.text import count
from procq.wire import QueueView

_CHANGE = re.compile(r"(?P<queue>[^=]+)(?:=(?P<workers>[+-]?[0-9]+|auto))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq scale`."""
    parser.add_argument("changes", nargs="+", metavar="QUEUE=N", help="N, +N, -N or auto")
    parser.add_argument("--save", action="store_true", help="write the number into the manifest, for good")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Applies each change, after all were read; then writes those that are to be kept."""
    changes = [_parse(text, options.save) for text in options.changes]
    client = client_of(options)
    numbers = [_scale(client, queue, workers, terminal, options.save) for queue, workers in changes]
    if not options.save:
        return ExitCode.DONE
    # Where a queue was named more than once, the last number counts.
    overridden = {view.name: view for view in numbers if view.override is not None}
    codes = [_save(client, view, terminal) for view in overridden.values()]
    return max(codes, default=ExitCode.DONE)


def _save(client: Client, view: QueueView, terminal: Terminal) -> int:
    try:
        save(client, view.name, view.desired, terminal)
    except ProcqError as error:
        terminal.fail(error)
        now = client.queue(view.name)
        without = "all the same, without the file" if now.override is not None else "as the manifest says"
        terminal.line(f"{_name(view, terminal)}   {count(now.desired, 'worker')} {without}")
        return error.exit_code
    return ExitCode.DONE


def _scale(client: Client, queue: str, workers: str | None, terminal: Terminal, saving: bool) -> QueueView:
    before = client.queue(queue)
    after = before if workers is None else client.scale(queue, workers)
    if after.override is None:
        note = "as the manifest says" + ("; there is nothing to save" if saving else "")
    elif saving:
        note = ""
    else:
        most = f"–{after.manifest_most}" if after.manifest_most else ""
        note = f"the manifest says {after.manifest_workers}{most}; `procq scale {after.name}=auto` gives it back"
    if before.desired == after.desired:
        words = f"{count(after.desired, 'worker')}, as before"
    else:
        words = f"{before.desired} → {count(after.desired, 'worker')}"
    terminal.line(f"{_name(after, terminal)}   {words}   {terminal.style(note, 'dim')}".rstrip())
    return after


def _name(view: QueueView, terminal: Terminal) -> str:
    return terminal.style(view.name, "bold")


def _parse(text: str, saving: bool) -> tuple[str, str | None]:
    found = _CHANGE.fullmatch(text)
    if found is None or not (found["workers"] or saving):
        raise UsageError(f'"{text}" is not a change', hint="Write it as emails=6, emails=+2, emails=-1 or emails=auto.")
    return found["queue"], found["workers"]
