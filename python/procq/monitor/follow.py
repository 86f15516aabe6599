"""One queue that scales: what its source has said, what the policy makes of it, and what holds besides. No I/O."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from procq.model import Queue
from procq.plain import Plain
from procq.rules import ScaleRule
from procq.scaling.crew import Crew
from procq.scaling.place import Place, parse
from procq.scaling.policy import Decision, Policy, Poll, Signals
from procq.scaling.reading import Reading
from procq.scaling.schedule import Bounds
from procq.scaling.sources.health import State, Watch
from procq.scaling.sources.port import SourceError
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
    decided_at: float = 0.0
    asked: bool = False
    """Whether an answer of the source is awaited."""
    asked_at: float | None = None
    refused: bool = False
    """Whether it got less than it wanted the last time."""
    short: str = ""
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
        self.poll = self.reading = None
        source = self.queue.source
        self.place = None if source is None else parse(source.url, self.queue.name)
        self.watch = None if self.place is None else Watch(self.place.server, now)

    def due_at(self, now: float) -> float:
        """When the source is to be asked next, which may be now; infinite while its answer is awaited."""
        if self.watch is None or self.asked:
            return inf
        every = None if self.queue.source is None else self.queue.source.every
        if self.asked_at is not None and every is not None:
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
        """Its answer is awaited from now on."""
        self.asked, self.asked_at = True, now

    def within(self) -> float:
        """Seconds within which a job that is due then counts as waiting: a worker started now would be there for it."""
        return self.policy.lead

    def heard(self, said: Reading | SourceError, observed: QueueState, now: float) -> None:
        """What the source has said, or why it has not."""
        self.asked = False
        if self.watch is None:
            return
        if isinstance(said, SourceError):
            self.watch.failed(said, now)
            return
        taken = self.watch.succeeded(said, now)
        if taken is None:
            return
        self.reading, self.heard_at = taken, now
        started = self.crew.look(observed, now).started
        self.poll = Poll(now, taken.waiting, started, taken.running, taken.oldest)

    @property
    def trouble(self) -> str:
        """Why the source says nothing, where that is so for more than a moment."""
        error = None if self.watch is None or not self.stale else self.watch.error
        return "" if error is None else str(error)

    @property
    def stale(self) -> bool:
        """Whether the source fails at present."""
        return self.watch is not None and self.watch.state is not State.FRESH

    def decide(
        self, observed: QueueState, now: float, bounds: Bounds, quiet: Collection[int] = (), most: int | None = None
    ) -> Decision:
        """How many workers there should be, as far as this queue alone is concerned."""
        least, most = self._range(bounds, most)
        running = None if self.reading is None else self.reading.running
        waits = self.reading is not None and self.reading.waiting > 0
        seen = self.crew.look(observed, now, running, quiet, waits)
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
        )
        self.bounds, self.decided_at = bounds, now
        self.decision = self._decided(self.signals, bounds)
        return self.decision

    def _decided(self, signals: Signals, bounds: Bounds) -> Decision:
        if self.watch is None and self.queue.scale is None:
            because = bounds.because or "the range of the manifest"
            return Decision(signals.least, signals.least, f"at least {signals.least}: {because}", (), "schedule", ())
        decision = self.policy.decide(signals)
        fallback = (self.queue.scale or _RULE).fallback
        silent = signals.now - (self.heard_at or signals.now)
        if not self.stale or fallback is None or silent < FALL_BACK_AFTER:
            return decision
        target = min(max(fallback, signals.least), signals.most)
        reason = f"the source has not answered for {silent / 60:.0f} minutes: the fallback of {fallback}"
        return replace(decision, target=target, wanted=fallback, reason=reason, winner="fallback")

    def _range(self, bounds: Bounds, most: int | None) -> tuple[int, int]:
        """What the manifest and its schedule allow; a ceiling counts more than a floor."""
        assert self.queue.most is not None
        ceilings = (self.queue.most, bounds.most, most)
        top = min(each for each in ceilings if each is not None)
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
