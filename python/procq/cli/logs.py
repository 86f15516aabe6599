"""Shows the output of the workers, from memory and from their log files. Works also while the control plane does not.

  procq logs                      the last lines of every worker
  procq logs -f emails            follow the workers of one queue
  procq logs -n 1000 emails.2     the last thousand lines of one worker
  procq logs --since 5m           everything of the last five minutes
  procq logs --since 10:40 --until 10:45 --grep 'Timeout|refused' emails
  procq logs --json --since 1h    a JSON object a line: time, worker, stream, line

Without -n, --since, --until and --grep only memory is asked, which holds up to 64 KiB of each worker. With one of them,
queues with `logs.file` are read from their files too, rotated and compressed ones included; where nothing runs, from
the files alone. In a file of format `text`, times are known to a tenth of a second, and nothing tells which worker
wrote a line if several share the file: the queue is shown instead.

Lines are shown as `worker | line`. On a terminal, colours pass and every other control sequence is taken out; into a
pipe go the bytes as they were written. --grep takes a regular expression of Python and looks at lines without colours.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence

from procq.cli.project import TARGETS, client_of
from procq.cli.render.logs import LogRenderer, line_json
from procq.cli.terminal import Terminal
from procq.client import Client, ControlPlaneSilent, Gap, Output, Refused, TailEnd
from procq.errors import NotRunning, UsageError

_PATIENCE = 1.0
"""Seconds in which the control plane may say whether a target exists."""
_TAIL = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq logs`."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=TARGETS)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what the workers write from now on")
    parser.add_argument("-n", "--tail", type=_lines, metavar="N", help="at most so many lines of each worker (20)")
    parser.add_argument(
        "--since", metavar="TIME", help="not before: how long ago, as 5m, or when, as 10:42 or ISO 8601"
    )
    parser.add_argument("--until", metavar="TIME", help="not after; written as for --since")
    parser.add_argument("--grep", metavar="REGEX", help="only lines in which this regular expression is found")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Copies output until its end, or until interrupted."""
    if options.follow and options.until is not None:
        raise UsageError("--until and --follow exclude each other")
    client = client_of(options, _PATIENCE)
    searching = any(each is not None for each in (options.since, options.until, options.grep))
    if not searching and not options.json and options.tail is None:
        try:
            return _from_memory(client, options, terminal)
        except NotRunning:
            # Then from files, where there are any.
            if options.follow:
                raise
    from procq.cli.logsearch import Question, search

    question = Question.of(options, None if searching else _TAIL)
    renderer = LogRenderer(terminal.style, raw=not terminal.is_terminal)
    for line in search(client, options, question, terminal):
        if options.json:
            _write(line_json(line), flush=options.follow)
        else:
            piece = Output(line.worker, line.stream or "stdout", line.at or 0.0, line.data + b"\n", False)
            _write(renderer.render(piece), flush=options.follow)
    sys.stdout.buffer.flush()
    return 0


def _from_memory(client: Client, options: argparse.Namespace, terminal: Terminal) -> int:
    renderer = LogRenderer(terminal.style, raw=not terminal.is_terminal)
    if options.follow:
        try:
            check(client, options.targets)
        except Refused as mistake:
            # It may still come to be.
            terminal.fail(mistake)
    silent = True
    for piece in _output(client, options):
        silent = False
        _write(renderer.render(piece), flush=options.follow)
    sys.stdout.buffer.flush()
    if silent and not options.follow:
        check(client, options.targets)
    return 0


def _output(client: Client, options: argparse.Namespace) -> Iterator[Output | Gap]:
    for piece in client.logs(options.targets, _TAIL, options.follow):
        if not isinstance(piece, TailEnd):
            yield piece


def _write(data: bytes, *, flush: bool) -> None:
    sys.stdout.buffer.write(data)
    if flush:
        sys.stdout.buffer.flush()


def check(client: Client, targets: Sequence[str]) -> None:
    """Raises Refused where a target means nothing. Only the control plane knows; while it is away anything goes."""
    if targets:
        with contextlib.suppress(NotRunning, ControlPlaneSilent):
            client.workers(targets)


def _lines(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:
        raise ValueError(text)
    return number


_lines.__name__ = "number of lines"
