"""`procq logs` where memory alone does not answer: from whom, from which files, between which times."""

from __future__ import annotations

import argparse
import os
import re
import resource
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from procq.cli.logfiles import Line, Place
from procq.cli.loghistory import Assembler, History, last_of_each, merged
from procq.cli.project import project_of
from procq.cli.terminal import Terminal
from procq.client import Client, ControlPlaneSilent, Gap, Output, TailEnd
from procq.errors import ManifestError, NotRunning, ProcqError, UsageError, did_you_mean
from procq.text import count, plain

if TYPE_CHECKING:
    from procq import wire
    from procq.model import Manifest, User

_EVERYTHING = 1_000_000
_MANY = 200
_PATIENCE = 1.0
"""Seconds that a file is waited for which has not got yet what memory no longer holds."""
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Question:
    """Which lines: between two times (seconds since the Unix epoch), of a pattern, at most `tail` of each worker."""

    since: float | None = None
    until: float | None = None
    pattern: re.Pattern[str] | None = None
    tail: int | None = None

    @classmethod
    def of(cls, options: argparse.Namespace, tail: int | None) -> Question:
        """What the command line asks. Raises UsageError."""
        from procq.cli.times import moment_of

        now = time.time()
        since = None if options.since is None else moment_of(options.since, "--since", now)
        until = None if options.until is None else moment_of(options.until, "--until", now)
        if since is not None and until is not None and until < since:
            hint = f"Is it `--since {options.until} --until {options.since}`?"
            raise UsageError(f"--until {options.until} is before --since {options.since}: no line is in between", hint)
        try:
            pattern = None if options.grep is None else re.compile(options.grep)
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(
                f'--grep: "{options.grep}" is not a regular expression: {error}',
                hint="Write a backslash before a character that is meant as itself, as in `\\(`.",
            ) from None
        return cls(since, until, pattern, tail if options.tail is None else options.tail)

    @property
    def selects(self) -> bool:
        """Whether lines are left out for what they are."""
        return any(each is not None for each in (self.since, self.until, self.pattern))

    def takes(self, line: Line) -> bool:
        """Whether this is one of them. A line of an unknown time is."""
        if line.at is not None and (
            (self.since is not None and line.at < self.since) or (self.until is not None and line.at > self.until)
        ):
            return False
        return self.pattern is None or self.pattern.search(plain(line.data.decode("utf-8", "replace"))) is not None


def search(client: Client, options: argparse.Namespace, question: Question, terminal: Terminal) -> Iterator[Line]:
    """The lines that answer the question, then with --follow those that come."""
    try:
        places, workers = _running(client, options.targets)
    except ControlPlaneSilent:
        terminal.fail(ProcqError("the control plane does not answer: only what is in memory is shown"))
        places, workers = [], None
    except NotRunning as nothing:
        places, workers = _at_rest(options, nothing)
        yield from _answer(question, list(_histories(places, [], frozenset(workers), terminal)), [])
        return
    pieces = client.logs(options.targets, _EVERYTHING, options.follow)
    memory, untold = _remembered(pieces)
    wanted = frozenset(workers if workers is not None else (piece.worker for piece in memory))
    histories = list(_histories(places, memory, wanted, terminal))
    covered = {worker for history in histories for worker in history.workers}
    if untold and wanted - covered:
        why = f"{count(untold, 'byte')} in memory are more than can be told at once"
        terminal.fail(ProcqError(why, hint="Name fewer workers, or give their queues `logs.file`."))
    assembler = Assembler()
    rest = [line for piece in memory if piece.worker not in covered for line in assembler.lines(piece)]
    yield from _answer(question, histories, rest)
    for piece in pieces:
        if isinstance(piece, Output):
            yield from filter(question.takes, assembler.lines(piece))
        elif isinstance(piece, Gap):
            terminal.fail(ProcqError(f"{count(piece.bytes, 'byte')} missing here: written faster than they were read"))


def _remembered(pieces: Iterator[Output | Gap | TailEnd]) -> tuple[list[Output], int]:
    """What memory holds, and the bytes that it holds and does not tell."""
    memory, untold = [], 0
    for piece in pieces:
        match piece:
            case TailEnd():
                break
            case Gap(lost):
                untold += lost
            case Output():
                memory.append(piece)
    return memory, untold


def _answer(question: Question, histories: Sequence[History], memory: Sequence[Line]) -> Iterator[Line]:
    if question.tail is not None and not question.selects:
        tails = [history.tail(question.tail) for history in histories]
        # In memory a queue's workers are not yet told apart from each other.
        yield from merged([*tails, *_by_worker(last_of_each(memory, question.tail))])
        return
    sources: list[Iterable[Line]] = []
    for history in histories:
        sources += [history.since(question.since), *_by_worker(history.memory)]
    lines = filter(question.takes, merged([*sources, *_by_worker(memory)]))
    yield from lines if question.tail is None else last_of_each(lines, question.tail)


def _by_worker(lines: Iterable[Line]) -> list[list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[line.worker].append(line)
    return list(found.values())


def _histories(
    places: Sequence[Place], memory: Sequence[Output], wanted: frozenset[str], terminal: Terminal
) -> Iterator[History]:
    """A history for each file that can be read and told apart; what cannot is said."""
    if len(places) > _MANY:
        # One is open of each place, and its neighbours for a moment.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    remembered: dict[str, list[Output]] = defaultdict(list)
    for piece in memory:
        remembered[piece.worker].append(piece)
    deadline = time.monotonic() + _PATIENCE
    for place in places:
        mine = [worker for worker in place.workers if worker in wanted]
        if not mine:
            continue
        if not place.tells_workers and len(mine) < len(place.workers):
            why = f"{place.path} is shared by {count(len(place.workers), 'worker')} and does not say which wrote a line"
            terminal.fail(ProcqError(why, hint="Only memory is shown. `logs.format: prefixed` tells them apart."))
            continue
        pieces = sorted(chain.from_iterable(remembered[worker] for worker in mine), key=lambda piece: piece.at)
        history = History(place, pieces, frozenset(mine), partial(_unreadable, place.path, terminal))
        while history.lags and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            history.look_again()
        yield history


def _unreadable(path: str, terminal: Terminal, why: str) -> None:
    terminal.fail(ProcqError(f"{path} cannot be read: {why}"))


def _running(client: Client, targets: Sequence[str]) -> tuple[list[Place], list[str]]:
    """The files of what runs, and the workers that are meant. Raises Refused, NotRunning, ControlPlaneSilent."""
    status = client.status(["*"])
    chosen = [worker.id for worker in (client.workers(targets) if targets else status.workers)]
    queues = {queue.name: queue for queue in status.queues if queue.log is not None}
    return _places(
        (
            worker.id,
            _path(queues[worker.queue], worker.id),
            queues[worker.queue].log_format,
            queues[worker.queue].user_ids,
        )
        for worker in status.workers
        if worker.queue in queues
    ), chosen


def _path(queue: wire.QueueView, worker: str) -> str:
    from procq.model import LogPolicy, WorkerId

    return LogPolicy(file=queue.log).path(WorkerId.parse(worker)) or ""


def _at_rest(options: argparse.Namespace, nothing: NotRunning) -> tuple[list[Place], list[str]]:
    """The files that the manifest names, where nothing runs. Raises `nothing` where there is nothing to read."""
    from pathlib import Path

    from procq import manifest
    from procq.model import WorkerId

    if options.follow:
        raise nothing
    try:
        loaded = manifest.load(Path(project_of(options).manifest), os.environ)
    except ManifestError:
        raise nothing from None
    queues = {name: queue for name, queue in loaded.queues.items() if queue.logs.file is not None}
    if not queues:
        nothing.hint = "`procq up` starts it. Only queues with `logs.file` can be read without."
        raise nothing
    workers = {
        str(worker): (queue.logs.path(worker) or "", queue)
        for name, queue in queues.items()
        for worker in (WorkerId(name, slot + 1) for slot in range(queue.most or queue.workers))
    }
    places = _places(
        (worker, path, str(queue.logs.format), _owner(queue.user)) for worker, (path, queue) in workers.items()
    )
    return places, _meant(options.targets, loaded, list(workers))


def _owner(user: User | None) -> tuple[int, ...]:
    return () if user is None else (user.uid, user.gid, *user.groups)


def _meant(targets: Sequence[str], loaded: Manifest, workers: Sequence[str]) -> list[str]:
    if not targets:
        return list(workers)
    found: dict[str, None] = {}
    for word in targets:
        meant = [
            worker for worker in workers if fnmatchcase(worker, word) or fnmatchcase(worker.rpartition(".")[0], word)
        ]
        if not meant:
            near = did_you_mean(word, loaded.queues, "queues with `logs.file` can be read while nothing runs.")
            raise ProcqError(f'"{word}" is no queue and no worker with a log file here', near[0].upper() + near[1:])
        found |= dict.fromkeys(meant)
    return list(found)


def _places(workers: Iterable[tuple[str, str, str, tuple[int, ...]]]) -> list[Place]:
    """One place for each path; the latest word about it counts, as for the keeper."""
    found: dict[str, list[str]] = defaultdict(list)
    how: dict[str, tuple[str, tuple[int, ...]]] = {}
    for worker, path, form, owner in workers:
        found[path].append(worker)
        # The rights of the first stand as long as anybody writes there.
        how[path] = form, how.get(path, (form, owner))[1]
    return [Place(path, how[path][0], tuple(ids), how[path][1]) for path, ids in found.items()]
