"""Shows what happened: starts, exits, restarts, changes, of the last days, also from before procq was restarted.

  procq events                         the last 2000
  procq events -f                      and what happens next, until ^C
  procq events emails --since 10m      of one queue, in the last ten minutes
  procq events --kind crashed,scaled   of these kinds
  procq events --json                  a JSON document a line
  procq events --dump FILE             all that is known, in one file: a flight recorder (FILE.gz compresses)
  procq events --from FILE             what happened by such a file

Where procq does not run, its journal is read. Kinds are those that --json shows; `crashed` stands for exited,
start_failed and gave_up. The file of --dump has events, decisions, samples and the status, and nothing that `procq
status` would not show.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from procq import wire
from procq.cli.project import TARGETS, client_of, project_of
from procq.cli.render.events import event_line
from procq.cli.terminal import Terminal
from procq.cli.times import moment_of
from procq.client import ControlPlaneSilent
from procq.errors import NotRunning, UsageError
from procq.journal.record import FILE
from procq.journal.wanted import Wanted, wanted

_NUMBER = 2_000
_AGAIN = 0.2
"""Seconds until another control plane is asked to go on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq events`."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=TARGETS)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens from now on")
    parser.add_argument("-n", "--number", type=_count, metavar="N", help="at most the last N (2000; all with --since)")
    parser.add_argument(
        "--since", metavar="TIME", help="not before: how long ago, as 5m, or when, as 10:42 or ISO 8601"
    )
    parser.add_argument("--until", metavar="TIME", help="not after; written as for --since")
    parser.add_argument("--kind", action="append", default=[], metavar="KIND,…", help="only these kinds of events")
    parser.add_argument("--json", action="store_true", help="a JSON document a line")
    parser.add_argument("--dump", metavar="FILE", help="write all that is known to this file")
    parser.add_argument("--from", dest="recording", metavar="FILE", help="show what is in a file that --dump wrote")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Prints events until their end, or until interrupted."""
    if options.dump is not None:
        _refuse_choice(options)
        from procq.cli.flight import dump

        return dump(options, terminal)
    question, now = _Question.of(options), time.time()
    for event in _recorded(options, question) if options.recording else _told(options, question):
        terminal.line(wire.to_json(event) if options.json else event_line(event, terminal.style, now))
    return 0


@dataclass(frozen=True, slots=True)
class _Question:
    """Which events: the last `number` of those that are wanted, None: all."""

    wanted: Wanted
    kinds: tuple[str, ...]
    number: int | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> _Question:
        """What the command line asks. Raises UsageError."""
        for other, given in (("--until", options.until is not None), ("--from", options.recording is not None)):
            if options.follow and given:
                raise UsageError(f"{other} and --follow exclude each other")
        now = time.time()
        since = None if options.since is None else moment_of(options.since, "--since", now)
        until = None if options.until is None else moment_of(options.until, "--until", now)
        if since is not None and until is not None and until < since:
            hint = f"Is it `--since {options.until} --until {options.since}`?"
            raise UsageError(f"--until {options.until} is before --since {options.since}: nothing is in between", hint)
        number = options.number
        if number is None and since is None:
            number = _NUMBER
        return cls(wanted(options.targets, options.kind, since, until), tuple(options.kind), number)

    def query(self) -> dict[str, list[str]]:
        """The same for the API."""
        choice = self.wanted
        times = {"since": choice.since, "until": choice.until, "limit": self.number}
        given = {name: [repr(value)] for name, value in times.items() if value is not None}
        return {"target": list(choice.targets), "kind": list(self.kinds), **given}


def _told(options: argparse.Namespace, question: _Question) -> Iterator[wire.EventView]:
    """What procq tells; where it does not run, or not answer, its journal."""
    try:
        if options.follow:
            yield from _followed(options, question)
        else:
            yield from client_of(options).events(follow=False, query=question.query())
    except (NotRunning, ControlPlaneSilent) as error:
        path = Path(project_of(options).state_dir) / FILE
        if options.follow or not path.exists():
            raise
        print(f"procq: {error.message}; this is what its journal has", file=sys.stderr)
        from procq.journal.reader import LARGEST_ID
        from procq.journal.telling import newest, pages_of

        for batch in newest(pages_of(path), question.wanted, question.number, LARGEST_ID):
            yield from batch


def _followed(options: argparse.Namespace, question: _Question) -> Iterator[wire.EventView]:
    """What procq tells, over all control planes that follow one another, until it ends."""
    client, last, began = client_of(options), None, False
    while True:
        try:
            for event in client.events(last, query=question.query()):
                yield event
                last = event.id
            began = True
        except ControlPlaneSilent:
            began = True
        except NotRunning:
            if not began:
                raise
            return
        time.sleep(_AGAIN)


def _recorded(options: argparse.Namespace, question: _Question) -> Iterator[wire.EventView]:
    """What is in a file of the flight recorder."""
    from procq.journal.recorder import Recording

    source = Recording(Path(options.recording))
    chosen = (event for event in source.events() if question.wanted.takes(event))
    yield from chosen if question.number is None else deque(chosen, maxlen=question.number)
    if source.cut_off:
        print(f"procq: {options.recording} ends in the middle: the rest of it is missing", file=sys.stderr)


def _refuse_choice(options: argparse.Namespace) -> None:
    chosen = options.follow or options.targets or options.kind or options.json
    if chosen or any(each is not None for each in (options.since, options.until, options.number, options.recording)):
        raise UsageError(
            "--dump writes everything, and goes with no other option",
            hint="`procq events --from FILE` chooses among what is in the file.",
        )


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:
        raise ValueError(text)
    return number


_count.__name__ = "number of events"
