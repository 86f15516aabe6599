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
from procq.scaling.demand import ENOUGH, Crew, Shortfall, shortfall
from procq.scaling.envelope import Envelope
from procq.scaling.proposal import Proposal
from procq.scaling.retention import Levels
from procq.scaling.ring import Ring
from procq.scaling.service import BootTime, ServiceTime, numbers
from procq.scaling.signals import Poll, Signals, Term
from procq.scaling.tuning import KEEPING, TICK, TUNING, Tuning

_POINTS: Final = 64
"""The ring divides the objective into so many spans, or into polls."""


class WaitObjective:
    """What it remembers of one queue: arrivals not yet started, past bursts, and how eager it has to be."""

    def __init__(self, goal: float, style: Style, tuning: Tuning = TUNING) -> None:
        self.goal = goal
        self.eagerness = 0.5
        self._settled = False
        self._keeping = KEEPING[style]
        self._tuning = tuning
        self._ring = Ring()
        self._envelope = Envelope(goal)
        self._started: int | None = None
        self._soon = self._polled = 0.0

    def waiting(self, started: int) -> float:
        """Jobs that no worker has begun, those that are due soon included, when so many have been started."""
        return max(0.0, self._ring.total - started) + self._soon

    def oldest(self, now: float) -> float | None:
        """For how many seconds the first job in line has been waiting; None where none waits."""
        came = next(self._ring.buckets(self._started or 0), None)
        return None if came is None else max(0.0, now - came[0])

    def polled(self, poll: Poll, service: float) -> None:
        """Takes a new answer of the source."""
        ring, before = self._ring, self._ring.total
        waiting = min(max(0.0, poll.waiting), 1e12)
        self._soon, self._polled = min(max(0.0, poll.soon), waiting), poll.at
        total = poll.started + waiting - self._soon
        if not ring.times:
            # Nobody knows since when these wait, unless the source does.
            age = TICK if poll.oldest is None else max(TICK, poll.oldest)
            ring.push(poll.at - age, poll.started, 0.0)
            before = float(poll.started)
        if total < before:
            self._envelope.fell(total)
        ring.push(poll.at, total, self.goal / _POINTS)
        if poll.oldest is not None and poll.waiting > 0:
            ring.no_earlier(poll.at - poll.oldest - TICK, poll.started)
        self._envelope.learn(poll.at, total, total - before, service)

    def settle(self, boot: float) -> None:
        """The first boot is known: the longer it is beside the objective, the more eager to begin with."""
        if not self._settled:
            self._settled = True
            self.eagerness = min(1.0, (boot + TICK) / self.goal)

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
                change = self._tuning.gain * (late - (1.0 - self._tuning.goal) * jobs)
                self.eagerness = min(1.0, max(0.0, self.eagerness + change))
            self._started = started
        self._ring.forget(started, signals.now - 2 * self.goal)

    def missed(self, at: float, now: float) -> float:
        """How many jobs are to be expected since the last poll, which was read at `at`."""
        return self._envelope.rate(at, self._ring.total) * max(0.0, now - at)

    def propose(self, signals: Signals, started: int, levels: Levels, service: ServiceTime, boot: BootTime) -> Proposal:
        """How many workers there should be for this objective alone, before all limits."""
        tuning, live, took = self._tuning, signals.live, boot.mean
        waiting = self.waiting(started)
        cap = _useful(signals, waiting)
        limit = self.goal * (tuning.late - (tuning.late - tuning.early) * min(1.0, 2 * self.eagerness))
        lack = self._lack(signals, started, limit, service, took) if waiting else ENOUGH
        more = min(lack.workers, max(0, cap - live))
        floor = self._floor() if took + TICK > tuning.late * self.goal else None
        terms = self._terms(waiting, limit, service, took, floor)
        if more or (floor is not None and min(cap, floor) > live):
            up, name = _up(live + more, 0 if floor is None else min(cap, floor))
            return Proposal(
                "wait", up, wording.up(lack, up - live, waiting, name), (*terms, _lacking(lack, more)), name
            )
        return self._keep(signals, levels, cap, floor, took, terms, waiting)

    def _keep(
        self,
        signals: Signals,
        levels: Levels,
        cap: int,
        floor: int | None,
        boot: float,
        terms: tuple[Term, ...],
        waiting: float,
    ) -> Proposal:
        """No more are needed: how many of those there are stay."""
        base = max(self._keeping.least, self._keeping.boots * boot)
        stretch, doubt = self._tuning.stretch, max(0.0, 2 * self.eagerness - 1)
        if floor is None:
            keep, stays = base * stretch**doubt, 0
        else:
            keep = base * stretch ** max(0.0, (self.eagerness - 0.75) / 0.25)
            stays = min(floor, signals.live, _kept(signals, levels, base * stretch**doubt))
        needed, kept = min(cap, signals.live), min(signals.live, _kept(signals, levels, keep))
        target, winner = max((needed, "demand"), (kept, "retention"), (stays, "floor"))
        reason = wording.keep(signals, target, winner, keep, waiting)
        wake = levels.until(keep, signals.now) if winner == "retention" and kept > needed else None
        kept_term = Term("kept", kept, f"{wording.workers(kept)} needed within the last {wording.seconds(keep)}")
        return Proposal("wait", target, reason, (*terms, kept_term), winner, wake)

    def _lack(self, signals: Signals, started: int, limit: float, service: ServiceTime, boot: float) -> Shortfall:
        each = max(1.0, signals.concurrency)
        places = signals.ready * each
        free = max(0.0, places - max(signals.jobs_at_work, signals.busy))
        trust = 1.0 - max(0.0, 2 * self.eagerness - 1)
        took = service.cautious(signals.elapsed)
        pace = trust / took if math.isfinite(took) else 0.0
        crew = Crew(free, places, [max(0.0, boot - since) for since in signals.starting], each, pace)
        return shortfall(self._line(started, boot), crew, signals.now, limit, boot)

    def _line(self, started: int, boot: float) -> Iterator[tuple[float, float]]:
        """The jobs in line, by when they came; last those that are to come within the boot of a worker."""
        yield from self._ring.buckets(started)
        if self._soon:
            yield self._polled + (boot + TICK) / 2, self.waiting(started)

    def _floor(self) -> int:
        doubt = max(0.0, 2 * self.eagerness - 1)
        return self._envelope.quantile(1.0 - (1.0 - self._tuning.enough) * 10.0**-doubt)

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
        return {"eagerness": [self.eagerness] if self._settled else [], "envelope": self._envelope.save()}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Takes what `save` gave; what makes no sense is passed over."""
        if eagerness := numbers(saved, "eagerness"):
            self.eagerness, self._settled = min(1.0, max(0.0, eagerness[0])), True
        self._envelope.load(numbers(saved, "envelope"))

    def inherit(self, other: WaitObjective) -> None:
        """Goes on from where one with other settings was."""
        self.eagerness, self._settled = other.eagerness, other._settled
        self._ring, self._started = other._ring, other._started
        self._soon, self._polled = other._soon, other._polled
        if self.goal == other.goal:
            self._envelope = other._envelope


def _useful(signals: Signals, waiting: float) -> int:
    """As many workers as could have a job: those that wait, and those at work."""
    each = max(1.0, signals.concurrency)
    return max(signals.busy, math.ceil((waiting + max(signals.jobs_at_work, signals.busy)) / each - 1e-9))


def _kept(signals: Signals, levels: Levels, keep: float) -> int:
    return max(signals.busy, levels.kept(keep, signals.now)) + len(signals.starting)


def _up(slack: int, floor: int) -> tuple[int, str]:
    return (floor, "floor") if floor > slack else (slack, "deadline")


def _lacking(lack: Shortfall, more: int) -> Term:
    return Term("lacking", lack.workers, f"{wording.workers(lack.workers)} missing, {more} of them have a job waiting")
