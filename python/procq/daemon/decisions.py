"""Decisions about numbers of workers, kept: the one that holds for each queue, and in the journal those before it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from procq.journal.record import JournalUnreadable, Record, decision_view
from procq.journal.writer import Journal
from procq.monitor.follow import Follow
from procq.wire import DecisionView, TermView

_RECENT = 20
"""Changes of each queue that are remembered besides: the newest are on their way into the journal."""


class Decisions:
    """Remembers decisions, in the journal too, which is the file `path`. `wall` is in seconds since the epoch."""

    def __init__(self, journal: Journal | None, path: Path, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall = wall
        self._journal = journal
        self._latest: dict[str, DecisionView] = {}
        self._recent: dict[str, deque[DecisionView]] = {}

    def decided(self, name: str, before: int, after: int, follow: Follow, now: float) -> None:
        """A decision was taken at `now`, on the clock of the engine."""
        decision, signals = follow.decision, follow.signals
        assert decision is not None and signals is not None
        at = self._wall()
        limits = (*decision.limits, *((follow.short,) if follow.short else ()))
        view = DecisionView(
            queue=name,
            at=at,
            before=before,
            target=after,
            wanted=decision.wanted,
            reason=decision.reason,
            winner=decision.winner,
            limits=limits,
            inputs=tuple(_inputs(follow, now)),
            terms=tuple(TermView(term.name, term.value, term.text) for term in decision.terms),
        )
        self._latest[name] = view
        if before != after:
            self._recent.setdefault(name, deque(maxlen=_RECENT)).appendleft(view)
        if self._journal is None:
            return
        if before != after:
            self._journal.add(_record(view))
        waiting = None if follow.reading is None else follow.reading.waiting
        started = signals.started if signals.speaks or not signals.live else None
        oldest = follow.standing(now).oldest
        self._journal.sample(at, name, waiting, signals.live, signals.busy, oldest, started)

    async def of(self, name: str, limit: int) -> Sequence[DecisionView]:
        """The one that holds now, and the newest `limit` changes before it."""
        latest = self._latest.get(name)
        if latest is None:
            return []
        recent = list(self._recent.get(name, ()))
        found = [each for each in recent if each is not latest]
        if len(found) < limit:
            # Not by their times: the clock may have been put back.
            known = {(each.at, each.before, each.target) for each in recent}
            found += await asyncio.to_thread(self._older, name, known, limit)
        return [latest, *found[:limit]]

    def _older(self, name: str, known: set[tuple[float, int, int]], limit: int) -> list[DecisionView]:
        """What the journal has besides; nothing where it cannot be read, which whoever writes it tells."""
        # Nobody pays for SQLite who never asks.
        from procq.journal.reader import last

        try:
            records = last(self._path, name, limit + _RECENT)
        except JournalUnreadable:
            return []
        others = (each for each in records if (each.at, each.before, each.target) not in known)
        return list(islice(map(decision_view, others), limit))


def _inputs(follow: Follow, now: float) -> Iterator[TermView]:
    reading, signals, standing = follow.reading, follow.signals, follow.standing(now)
    assert signals is not None
    if reading is not None:
        age = "" if standing.age is None else f"read {standing.age:.1f} s ago from {standing.source}"
        yield TermView("waiting", reading.waiting, age)
        for key, value in (("running", reading.running), ("delayed", reading.delayed)):
            if value is not None:
                yield TermView(key, value, "by the broker's account")
        if standing.oldest is not None:
            yield TermView("oldest", standing.oldest, "seconds that the first job in line has been waiting")
    said = "by their own account" if signals.speaks else "by what can be seen of them"
    yield TermView("idle", signals.idle, f"workers, {said}")
    yield TermView("busy", signals.busy, f"workers, {said}")
    yield TermView("starting", len(signals.starting), "workers")
    yield TermView("leaving", signals.draining, "workers")
    yield TermView("min", signals.least, "" if follow.bounds is None else follow.bounds.because)
    yield TermView("max", signals.most)


def _record(view: DecisionView) -> Record:
    return Record(
        at=view.at,
        queue=view.queue,
        before=view.before,
        target=view.target,
        wanted=view.wanted,
        reason=view.reason,
        winner=view.winner,
        inputs={each.name: each.value for each in view.inputs},
        terms=tuple((each.name, each.value, each.text) for each in view.terms),
        limits=view.limits,
    )
