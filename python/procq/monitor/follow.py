"""One queue that scales: what its source has said, what the policy makes of it, and what holds besides. No I/O."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from procq.intent import DesiredQueue
from procq.model import Queue
from procq.plain import Plain
from procq.plan.crew import places, slots_for, unusable
from procq.plan.slow_start import failing
from procq.rules import ScaleRule
from procq.scaling.crew import Crew
from procq.scaling.place import BadPlace, Place, parse
from procq.scaling.policy import Decision, Policy, Poll, Signals
from procq.scaling.reading import Reading
from procq.scaling.schedule import Bounds
from procq.scaling.sources.health import State, Watch
from procq.scaling.sources.port import Kind, SourceError, rounded
from procq.scaling.standing import Standing
from procq.scaling.tuning import TICK, WAIT
from procq.state import QueueState

FALL_BACK_AFTER: Final = 300.0
"""Seconds without an answer after which the `fallback` of a queue holds."""
_RULE: Final = ScaleRule()
_LOOKS: Final = 10
"""Times that an empty queue is looked at within the objective, at least."""


@dataclass(slots=True)
class Follow:
    """One queue from the moment it scales. Times are on the clock of the engine, unless said otherwise."""

    queue: Queue
    policy: Policy
    watch: Watch | None = None
    place: Place | None = None
    crew: Crew = field(default_factory=Crew)
    poll: Poll | None = None
    reading: Reading | None = None
    decision: Decision | None = None
    signals: Signals | None = None
    bounds: Bounds | None = None
    asked: bool = False
    """Whether an answer of the source is awaited."""
    asked_at: float | None = None
    within: float = 0.0
    """Seconds within which what is due counted as waiting in the last answer."""
    refused: bool = False
    """Whether it got less than it wanted the last time."""
    short: str = ""
    failing: bool = False
    """Whether its workers fail again and again, and none works."""
    _lost: SourceError | None = None
    _unusable: set[int] = field(default_factory=set)
    heard_at: float | None = None

    @classmethod
    def begin(cls, queue: Queue, learnt: Plain | None, now: float) -> Follow:
        """A queue that begins to scale; `learnt` is what an earlier control plane has found out."""
        rule = queue.scale or _RULE
        policy = Policy(rule) if learnt is None else Policy.restore(rule, learnt)
        follow = cls(queue, policy, heard_at=now)
        follow._point_at_source(now)
        return follow

    def take_up(self, queue: Queue, now: float) -> None:
        """The manifest has changed."""
        before, self.queue = self.queue, queue
        if (queue.scale or _RULE) != (before.scale or _RULE):
            self.policy.retune(queue.scale or _RULE)
        if queue.source != before.source:
            self._point_at_source(now)

    def _point_at_source(self, now: float) -> None:
        self.poll = self.reading = self.place = self.watch = None
        self.asked, self.asked_at, self.heard_at, self._lost = False, None, now, None
        source = self.queue.source
        if source is None:
            return
        try:
            self.place = parse(source.url, self.queue.name)
            self.watch = Watch(self.place.server, now)
        except BadPlace as bad:
            # A package that brought the preset was there when the manifest was read, and is gone.
            self.watch = Watch(self.queue.name, now)
            self._lost = SourceError(Kind.MISSING_LIBRARY, str(bad))

    def due_at(self, now: float) -> float:
        """When the source is to be asked next, which may be now; infinite while its answer is awaited."""
        if self.watch is None or self.asked or self._lost is not None:
            return inf
        every = None if self.queue.source is None else self.queue.source.every
        if self.asked_at is not None and every is not None and not self.watch.doubts:
            return max(self.watch.next_poll(now), self.asked_at + every)
        if self.asked_at is None or self.stale:
            return self.watch.next_poll(now)
        return max(now, min(self.watch.next_poll(now), self.asked_at + self._patience()))

    def _patience(self) -> float:
        """Seconds for which an empty queue need not be looked at: a part of the objective, and none without workers."""
        if self.signals is None or not self.signals.live:
            return TICK
        rule = self.queue.scale or _RULE
        return max(TICK, (rule.wait or WAIT) / _LOOKS)

    def ask(self, now: float) -> None:
        """Its answer is awaited from now on.

        What is due before a worker started now would be there counts as waiting in it, and where the source is asked
        seldom, what is due before one started at the next answer would be.
        """
        every = (self.queue.source.every if self.queue.source is not None else None) or 0.0
        self.asked, self.asked_at, self.within = True, now, rounded(self.policy.lead + every)

    def heard(self, said: Reading | SourceError, observed: QueueState, now: float) -> None:
        """What the source has said, or why it has not."""
        self.asked = False
        if self.watch is None:
            return
        if isinstance(said, SourceError):
            self.watch.failed(said, now)
            return
        try:
            taken = self.watch.succeeded(said, now)
        except (TypeError, ValueError, OverflowError, AttributeError):
            # Sources of others may say anything.
            self.watch.failed(SourceError(Kind.GARBAGE, f"the source says {said!r:.80}, which is no reading"), now)
            return
        if taken is None:
            return
        self.reading, self.heard_at = taken, now
        started = self.crew.started(observed)
        self.poll = Poll(now, taken.waiting, started, taken.running, taken.oldest, taken.soon, self.within)

    @property
    def trouble(self) -> str:
        """Why the source says nothing, where that is so for more than a moment."""
        if self._lost is not None:
            return str(self._lost)
        error = None if self.watch is None or not self.stale else self.watch.error
        return "" if error is None else str(error)

    @property
    def stale(self) -> bool:
        """Whether the source fails at present."""
        return self._lost is not None or (self.watch is not None and self.watch.state is not State.FRESH)

    def decide(
        self, desired: DesiredQueue, observed: QueueState, now: float, bounds: Bounds, quiet: Collection[int] = ()
    ) -> Decision:
        """How many workers there should be, as far as this queue alone is concerned.

        Slots in which nobody works whatever is wanted do not count: see `slots`.
        """
        least, most = self._range(bounds)
        self._unusable = unusable(desired, observed)
        self.failing = failing(desired, observed, now)
        held = desired.workers - sum(slot <= desired.workers for slot in self._unusable)
        running = None if self.reading is None else self.reading.running
        waits = self.reading is not None and self.reading.waiting > 0
        seen = self.crew.look(observed, now, set(places(desired, observed)) - self._unusable, running, quiet, waits)
        poll = self.poll
        if self.watch is None and self.queue.scale is not None:
            # Only what workers say decides.
            poll = Poll(now, 0.0, seen.started)
        self.signals = Signals(
            now=now,
            poll=poll,
            stale=self.stale,
            started=seen.started,
            finished=seen.finished,
            job_seconds=seen.job_seconds,
            idle=seen.idle,
            busy=seen.busy,
            speaks=seen.speaks,
            jobs_at_work=seen.jobs_at_work,
            elapsed=seen.elapsed,
            starting=seen.starting,
            draining=seen.draining,
            boots=seen.boots,
            refused=self.refused,
            least=least,
            most=most,
            concurrency=seen.concurrency,
            parkable=seen.parkable,
        )
        self.bounds = bounds
        self.decision = self._decided(self.signals, bounds, held)
        return self.decision

    def _decided(self, signals: Signals, bounds: Bounds, held: int) -> Decision:
        if self.watch is None and self.queue.scale is None:
            because = bounds.because or "the range of the manifest"
            return Decision(signals.least, signals.least, f"at least {signals.least}: {because}", (), "schedule", ())
        decision = self.policy.decide(signals)
        fallback = (self.queue.scale or _RULE).fallback
        silent = signals.now - (self.heard_at or signals.now)
        if self.watch is not None and (self.stale or signals.poll is None):
            # Whatever becomes of its workers meanwhile: because of the source it has no fewer than before.
            kept = min(max(decision.target, held), signals.most)
            decision = replace(decision, target=kept, wanted=max(decision.wanted, kept))
        if not self.stale or fallback is None or silent < FALL_BACK_AFTER:
            return decision
        target = min(max(fallback, signals.least), signals.most)
        reason = f"the source has not answered for {silent / 60:.0f} minutes: the fallback of {fallback}"
        return replace(decision, target=target, wanted=fallback, reason=reason, winner="fallback")

    def _range(self, bounds: Bounds) -> tuple[int, int]:
        """What the manifest and its schedule allow; a ceiling counts more than a floor."""
        assert self.queue.most is not None
        top = self.queue.most if bounds.most is None else min(self.queue.most, bounds.most)
        return min(top, max(self.queue.workers, bounds.least or 0)), top

    def standing(self, now: float) -> Standing:
        """How it stands, for those who show it."""
        reading, source, rule = self.reading, self.queue.source, self.queue.scale or _RULE
        by_wait = source is not None and (rule.wait is not None or (rule.backlog, rule.metric) == (None, None))
        oldest = None if reading is None else reading.oldest
        if oldest is not None and self.heard_at is not None:
            oldest += now - self.heard_at
        return Standing(
            waiting=None if reading is None else reading.waiting,
            running=None if reading is None else reading.running,
            delayed=None if reading is None else reading.delayed,
            oldest=self.policy.oldest(now) if oldest is None and reading is not None else oldest,
            age=None if reading is None or self.heard_at is None else now - self.heard_at,
            source=None if self.place is None else self.place.shown,
            trouble=self.trouble,
            objective=(rule.wait or WAIT) if by_wait else None,
            reason="" if self.decision is None else self.decision.reason,
            short=self.short,
        )

    def granted(self, workers: int, short: str) -> None:
        """How many the machine bears of what was decided."""
        decision = self.decision
        assert decision is not None and self.signals is not None
        self.refused = workers < decision.wanted
        self.short = short

    def slots(self, workers: int) -> int:
        """How many slots it takes to have so many workers."""
        assert self.queue.most is not None
        return slots_for(workers, self._unusable, self.queue.most)

    def set_aside(self, why: str, workers: int) -> None:
        """A person has said how many there are, or that none are to work: that is what decides."""
        assert self.decision is not None
        self.refused, self.short = False, ""
        self.decision = replace(self.decision, reason=why, winner="by hand", limits=(), wanted=workers)
