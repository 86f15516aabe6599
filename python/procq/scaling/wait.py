"""The objective `wait`: 95 % of the jobs begin within so many seconds, with as few worker hours as can be. Pure.

A worker is started only when the projection says that a job would wait too long (demand.py), and kept for about as
long as its boot is worth (retention.py). Feedback from the waits that were observed moves one number, the eagerness,
which makes both more cautious. A floor from past bursts (envelope.py) acts only where a boot is longer than the wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from procq.rules import Style
from procq.scaling import wording
from procq.scaling.announced import Announced
from procq.scaling.demand import ENOUGH, Crew, Shortfall, shortfall
from procq.scaling.envelope import Envelope
from procq.scaling.proposal import Proposal
from procq.scaling.rent import Kept, Rent
from procq.scaling.retention import Levels
from procq.scaling.ring import Ring
from procq.scaling.service import BootTime, ServiceTime, numbers
from procq.scaling.signals import Poll, Signals, Term
from procq.scaling.tuning import KEEPING, TICK, TUNING, Tuning

_POINTS: Final = 64
"""The ring divides the objective into so many spans, or into polls."""
_CAUTIOUS: Final = 0.7
"""The eagerness to begin with, at most, where boots are in time."""
_IN_TIME: Final = 1.15
"""The part of the objective that the first boots may seem to take, which are reckoned longer than they were."""
_LATER: Final = 0.6
"""The part of the objective that jobs at work could have waited."""
_SHARE: Final = 0.5
"""So many jobs must be expected to come for it to be worth that others wait for them."""
_REMEMBER: Final = 3600.0
"""Seconds after which nobody asks any more when a level was last needed."""


class WaitObjective:
    """What it remembers of one queue: arrivals not yet started, past bursts, and how eager it has to be."""

    def __init__(self, goal: float, style: Style, tuning: Tuning = TUNING) -> None:
        self.goal = goal
        self.eagerness = 0.5
        self._settled = self._cold = False
        self._keeping = KEEPING[style]
        self._tuning = tuning
        self._ring = Ring()
        self._envelope = Envelope(goal)
        self._started: int | None = None
        self._announced = Announced()
        self._polled = 0.0
        self._rent = Rent()
        self._levels = Levels()

    def waiting(self, started: int) -> float:
        """Jobs that no worker has begun, those that are due soon included, when so many have been started."""
        return max(0.0, self._ring.total - started) + self._announced.soon

    def oldest(self, now: float) -> float | None:
        """For how many seconds the first job in line has been waiting; None where none waits."""
        span = next(self._ring.spans(self._started or 0), None)
        return None if span is None else max(0.0, now - (span[0] + span[1]) / 2)

    @property
    def limit(self) -> float:
        """Seconds that a job may wait before a worker is started for it."""
        late, early = self._tuning.late, self._tuning.early
        return self.goal * (late - (late - early) * min(1.0, 2 * self.eagerness))

    @property
    def _doubt(self) -> float:
        """From 0.0 to 1.0: how far feedback has gone beyond its middle."""
        return max(0.0, 2 * self.eagerness - 1)

    def polled(self, poll: Poll, service: float, boot: float) -> None:
        """Takes a new answer of the source."""
        ring, before = self._ring, self._ring.total
        waiting = min(max(0.0, poll.waiting), 1e12)
        soon, self._polled = min(max(0.0, poll.soon), waiting), poll.at
        total = poll.started + waiting - soon
        if not ring.times:
            # Nobody knows since when these wait, unless the source does.
            age = TICK if poll.oldest is None else max(TICK, poll.oldest)
            ring.push(poll.at - age, poll.started, 0.0)
            before = float(poll.started)
        if total < before:
            self._envelope.fell(total)
        ring.push(poll.at, total, self.goal / _POINTS)
        self._announced.told(poll.at, total, soon, boot + TICK if poll.within is None else poll.within)
        if poll.oldest is not None and poll.waiting > 0:
            ring.no_earlier(poll.at - poll.oldest - TICK, poll.started)
        self._envelope.learn(poll.at, total, total - before, service)

    def needed(self, signals: Signals, started: int, service: ServiceTime, boot: BootTime) -> None:
        """Counts the jobs that are due soon, and remembers how many workers are needed: levels are kept for a while."""
        busy, now = _packed(signals), signals.now
        self._announced.look(now, boot.mean + TICK, started, signals.idle > 0)
        waiting, took = self.waiting(started), service.cautious(signals.elapsed)
        need = busy
        if waiting and not signals.idle:
            need += 1
        elif not waiting and math.isfinite(took):
            # Fewer would also do these jobs in time, one after the other.
            need = min(need, math.ceil(busy * took / (_LATER * self.goal + took)))
        pause = max(0.0, self.limit - 1.5 * boot.mean - TICK)
        self._rent.mark(need, now, signals.live, pause, self._keeping.worth(boot.mean))
        self._levels.mark(need, now)
        self._levels.forget(now - _REMEMBER)
        self._rent.forget(now - _REMEMBER)

    def settle(self, boot: float) -> None:
        """The first boot is known: the longer it is beside the objective, the more eager to begin with."""
        if not self._settled:
            self._settled = True
            share = (boot + TICK) / self.goal
            # What is started in time needs no great caution; what cannot be needs all of it.
            self.eagerness = min(_CAUTIOUS if share < _IN_TIME else 1.0, share)

    def observe(self, signals: Signals, started: int, at_most: bool) -> None:
        """Feedback: how long those jobs have waited that were started since the last decision.

        `at_most`: no more workers could be had, so that late jobs say nothing of the policy.
        """
        if self._started is None or started < self._started:
            if self._started is not None:
                self._ring.clear()
            self._started = started
            return
        jobs = started - self._started
        if jobs:
            came = self._ring.by(signals.now - TICK / 2 - self.goal)
            late = min(max(0.0, came - self._started), float(jobs))
            if not (late and at_most):
                goal = self._tuning.cold if self._cold else self._tuning.goal
                change = self._tuning.gain * (late - (1.0 - goal) * jobs)
                self.eagerness = min(1.0, max(0.0, self.eagerness + change))
            self._started = started
        self._ring.forget(started, signals.now - 2 * self.goal)

    def missed(self, at: float, now: float) -> float:
        """How many jobs are to be expected since the last poll, which was read at `at`."""
        return self._envelope.rate(at, self._ring.total) * max(0.0, now - at)

    def propose(self, signals: Signals, started: int, service: ServiceTime, boot: BootTime) -> Proposal:
        """How many workers there should be for this objective alone, before all limits."""
        tuning, live, took = self._tuning, signals.live, boot.mean
        waiting, limit = self.waiting(started), self.limit
        cap = _useful(signals, waiting)
        lack = self._lack(signals, started, limit, service, took) if waiting else ENOUGH
        more = min(lack.workers, max(0, cap - live))
        self._cold = took + TICK > tuning.late * self.goal
        floor = self._floor() if self._cold else None
        terms = self._terms(waiting, limit, service, took, floor)
        if more or (floor is not None and min(cap, floor) > live):
            up, name = _up(live + more, 0 if floor is None else min(cap, floor))
            return Proposal(
                "wait",
                up,
                wording.up(lack, up - live, waiting, name),
                (*terms, _lacking(lack, more)),
                name,
                signals.now + TICK,
            )
        return self._keep(signals, cap, floor, took, terms, waiting)

    def _keep(
        self, signals: Signals, cap: int, floor: int | None, boot: float, terms: tuple[Term, ...], waiting: float
    ) -> Proposal:
        """No more are needed: how many of those there are stay."""
        kept, stays = self._kept(signals, floor, boot)
        starting, live = len(signals.starting), signals.live
        needed, level = min(cap, live), min(live, max(signals.busy, kept.level) + starting)
        target, winner = max((needed, "demand"), (level, "retention"), (min(live, stays), "floor"))
        wake = kept.until if winner == "retention" and level > needed else None
        wake = signals.now + TICK if waiting else wake
        reason = wording.keep(signals, target, winner, kept.seconds, waiting)
        term = Term("kept", level, wording.needed(level, kept.seconds))
        return Proposal("wait", target, reason, (*terms, term), winner, wake)

    def _kept(self, signals: Signals, floor: int | None, boot: float) -> tuple[Kept, int]:
        """What is kept of levels, and of the floor where there is one."""
        usual, stretch, now = self._keeping.usual(boot), self._tuning.stretch, signals.now
        if floor is None:
            return self._rent.kept(usual, stretch**self._doubt, now), 0
        seconds = usual * stretch ** max(0.0, 4 * self.eagerness - 3)
        kept = Kept(self._levels.kept(seconds, now), seconds, self._levels.until(seconds, now))
        longer = max(signals.busy, self._levels.kept(usual * stretch**self._doubt, now)) + len(signals.starting)
        return kept, min(floor, longer)

    def _lack(self, signals: Signals, started: int, limit: float, service: ServiceTime, boot: float) -> Shortfall:
        each = max(1.0, signals.concurrency)
        places = signals.ready * each
        free = max(0.0, places - max(signals.jobs_at_work, signals.busy))
        trust = 1.0 - self._doubt
        took = service.cautious(signals.elapsed)
        pace = trust / took if math.isfinite(took) else 0.0
        crew = Crew(free, places, [max(0.0, boot - since) for since in signals.starting], each, pace)
        return shortfall(self._line(started), crew, signals.now, limit, boot, self._gathers(limit, boot))

    def _gathers(self, limit: float, boot: float) -> float:
        """Seconds before the latest start at which jobs no longer wait for others; infinite: they never do."""
        slack = limit - boot - max(TICK, boot / 2)
        if not self._keeping.gathers or self._envelope.rate(self._polled, self._ring.total) * slack < _SHARE:
            return math.inf
        return max(TICK, boot / 2)

    def _line(self, started: int) -> Iterator[tuple[float, float]]:
        """The jobs in line, by when they came; last those that are to come within the boot of a worker."""
        there = max(0.0, self._ring.total - started)
        for since, until, line in self._ring.spans(started):
            yield (since + until) / 2, line
        for due, line in self._announced.line():
            yield due, line + there

    def _floor(self) -> int:
        return self._envelope.quantile(1.0 - (1.0 - self._tuning.enough) * 10.0**-self._doubt)

    def _terms(
        self, waiting: float, limit: float, service: ServiceTime, boot: float, floor: int | None
    ) -> tuple[Term, ...]:
        took = "not known yet" if math.isinf(service.mean) else wording.seconds(service.mean)
        terms = (
            Term("waiting", waiting, f"{wording.jobs(waiting)} may begin now"),
            Term("limit", limit, f"a worker is started when a job would wait longer than {wording.seconds(limit)}"),
            Term("service", service.mean if math.isfinite(service.mean) else -1.0, f"a job takes: {took}"),
            Term("boot", boot, f"a worker needs {wording.seconds(boot)} to start"),
            Term("eagerness", self.eagerness, f"eagerness {self.eagerness:.2f}, from how long jobs have waited"),
        )
        if floor is None:
            return terms
        return (*terms, Term("floor", floor, f"{wording.workers(floor)} meet bursts like those before"))

    def save(self) -> dict[str, Any]:
        """What is worth keeping over a restart."""
        eagerness = [self.eagerness] if self._settled else []
        return {"eagerness": eagerness, "envelope": self._envelope.save(), "keeping": self._rent.save()}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Takes what `save` gave; what makes no sense is passed over."""
        if eagerness := numbers(saved, "eagerness"):
            self.eagerness, self._settled = min(1.0, max(0.0, eagerness[0])), True
        self._envelope.load(numbers(saved, "envelope"))
        self._rent.load(numbers(saved, "keeping"))

    def inherit(self, other: WaitObjective) -> None:
        """Goes on from where one with other settings was."""
        self.eagerness, self._settled = other.eagerness, other._settled
        self._ring, self._started = other._ring, other._started
        self._polled, self._announced = other._polled, other._announced
        self._rent, self._levels = other._rent, other._levels
        if self.goal == other.goal:
            self._envelope = other._envelope


def _useful(signals: Signals, waiting: float) -> int:
    """As many workers as could have a job: those that wait, and those at work."""
    each = max(1.0, signals.concurrency)
    return max(signals.busy, math.ceil((waiting + max(signals.jobs_at_work, signals.busy)) / each - 1e-9))


def _packed(signals: Signals) -> int:
    """Workers it takes for the jobs at work; brokers may spread them over more."""
    if signals.concurrency <= 1.0:
        return signals.busy
    return min(signals.busy, math.ceil(max(signals.jobs_at_work, 0) / signals.concurrency))


def _up(slack: int, floor: int) -> tuple[int, str]:
    return (floor, "floor") if floor > slack else (slack, "deadline")


def _lacking(lack: Shortfall, more: int) -> Term:
    return Term("lacking", lack.workers, f"{wording.workers(lack.workers)} missing, {more} of them have a job waiting")
