"""Runs one command as so many workers, without a manifest, until ^C or `procq down`.

  procq work --workers 4 -- rq worker emails
  procq work --workers 4 --queue high,default -- php artisan queue:work --queue={queue}
  procq work -- celery -A shop worker

`{queue}` in the command stands for what --queue says. With one worker procq steps aside: the command takes its place.
With more it writes a manifest that does the same, and runs that: the first lines say where it is, so that it can be
edited while it runs, and kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex

from procq.cli import up
from procq.cli.terminal import Terminal
from procq.errors import UsageError
from procq.model import MAX_WORKERS
from procq.paths import key_of, private_directory, state_root

TAKES_A_COMMAND = True
"""What follows `--` is none of ours."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq work`, before the `--`."""
    parser.usage = "procq work [-h] [-w N] [-q NAMES] [-d] [-f FILE] [--name NAME] -- COMMAND [ARGUMENT ...]"
    parser.add_argument("-w", "--workers", type=int, default=1, metavar="N", help="how many workers (default: 1)")
    parser.add_argument("-q", "--queue", metavar="NAMES", help="what {queue} in the command stands for")
    parser.add_argument("-d", "--detach", action="store_true", help="run in the background")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Becomes the command, or a procq that runs it."""
    if not options.command:
        raise UsageError("work at what?", hint="Say it after two dashes: procq work --workers 4 -- rq worker emails")
    argv = [_filled_in(word, options.queue) for word in options.command]
    if not 1 <= options.workers <= MAX_WORKERS:
        raise UsageError(f"--workers is between 1 and {MAX_WORKERS}, not {options.workers}")
    if options.workers == 1 and not options.detach:
        _become(argv)
    path = _written(argv, options.workers)
    terminal.line(terminal.style(f"the manifest is {path}: edit it to change what runs, copy it to keep it", "dim"))
    options.manifest, options.wait, options.tier, options.dry_run, options.json = path, None, None, False, False
    return up.run(options, terminal)


def _filled_in(word: str, queue: str | None) -> str:
    if "{queue}" not in word:
        return word
    if not queue:
        raise UsageError("{queue} stands for nothing", hint="Say what: --queue high,default")
    return word.replace("{queue}", queue)


def _become(argv: list[str]) -> None:
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        raise UsageError(f"cannot execute {argv[0]}: {error.strerror}") from None


def _written(argv: list[str], workers: int) -> str:
    """Writes the manifest of the current directory, and returns where it is."""
    here = os.getcwd()
    folder = os.path.join(state_root(os.environ), "commands", key_of(here, "", None))
    private_directory(folder)
    path = os.path.join(folder, "procq.yaml")
    text = f"""\
# Written by `procq work`, which writes it anew each time. Saved as procq.yaml it runs with `procq up`.
queues:
  work:
    command: {_quoted(shlex.join(argv))}
    directory: {_quoted(here)}
    workers: {workers}
"""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _quoted(text: str) -> str:
    """As YAML has it, and as it is meant: `${` is no reference here."""
    return json.dumps(text.replace("${", "$${"), ensure_ascii=False)
