"""From what is known of a queue to how many workers it should have. Pure: no clock, no I/O, nothing random.

One policy for each queue; it remembers what it has seen. All objectives of the rule propose, the largest proposal
wins, and then come the rules that always hold: nothing is lowered because a source fails, only workers that are idle
now are taken away, and the limits are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from procq.rules import ScaleRule
from procq.scaling import wording
from procq.scaling.measures import Measures
from procq.scaling.proposal import Proposal
from procq.scaling.service import BootTime, ServiceTime, numbers
from procq.scaling.signals import Decision, Poll, Signals, Term
from procq.scaling.starts import Starts
from procq.scaling.tuning import TICK, TUNING, WAIT, Tuning
from procq.scaling.wait import WaitObjective

__all__ = ["Decision", "Policy", "Poll", "Signals", "Term"]

_QUIET: Final = Proposal("wait", 0, "no job waits and no worker is there", (), "demand")


class Policy:
    """Decides for one queue. The same signals in the same order give the same decisions."""

    def __init__(self, rule: ScaleRule, tuning: Tuning = TUNING) -> None:
        self._rule = rule
        self._tuning = tuning
        self._wait = WaitObjective(_goal(rule), rule.style, tuning)
        self._measures = Measures()
        self._service = ServiceTime(rule.job_time)
        self._boot = BootTime()
        self._starts = Starts()
        self._polled: Poll | None = None

    def decide(self, signals: Signals) -> Decision:
        """How many workers there should be now."""
        started = self._learn(signals)
        if signals.poll is None:
            return self._blind(signals)
        best = self._best(signals, started)
        return _limited(best, signals, self._lowest(signals))

    def retune(self, rule: ScaleRule) -> None:
        """The manifest has changed; what was learnt is kept."""
        before, self._rule = self._wait, rule
        self._wait = WaitObjective(_goal(rule), rule.style, self._tuning)
        self._wait.inherit(before)
        if self._service.seen == 0:
            self._service = ServiceTime(rule.job_time)

    @property
    def lead(self) -> float:
        """Seconds from now until a worker that is started could take a job."""
        return self._boot.mean + TICK

    def oldest(self, now: float) -> float | None:
        """For how many seconds that job has been waiting which has waited longest, as near as polls tell."""
        return self._wait.oldest(now)

    def save(self) -> Mapping[str, Any]:
        """What is worth keeping over a restart of procq: plain data."""
        return {"service": self._service.save(), "boot": self._boot.save(), **self._wait.save()}

    @classmethod
    def restore(cls, rule: ScaleRule, saved: Mapping[str, Any]) -> Policy:
        """One that goes on from what `save` gave; what makes no sense in it is passed over."""
        policy = cls(rule)
        policy._service.load(numbers(saved, "service"))
        policy._boot.load(numbers(saved, "boot"))
        policy._wait.load(saved)
        return policy

    def _learn(self, signals: Signals) -> int:
        """Takes in what is new, and returns how many jobs have been started by now."""
        self._service.learn(signals.finished, signals.job_seconds)
        for seconds in signals.boots:
            self._boot.learn(seconds)
            self._wait.settle(self._boot.mean)
        poll, new = signals.poll, signals.poll is not None and signals.poll != self._polled
        if poll is not None and new:
            self._polled = poll
        if poll is not None and new and not signals.speaks:
            poll = self._starts.polled(poll, signals, self._service.mean)
        started = signals.started if signals.speaks else self._starts.count
        self._wait.observe(signals, started, signals.refused or signals.live >= signals.most)
        if poll is not None and new:
            self._wait.polled(poll, self._service.mean / max(1.0, signals.concurrency), self._boot.mean)
        self._wait.needed(signals, started, self._service, self._boot)
        return started

    def _best(self, signals: Signals, started: int) -> Proposal:
        rule, waiting = self._rule, self._wait.waiting(started)
        found: list[Proposal] = []
        if rule.wait is not None or not _measured(rule):
            if not waiting and not signals.live:
                found.append(_QUIET)
            else:
                found.append(self._wait.propose(signals, started, self._service, self._boot))
        if _measured(rule):
            found += self._measures.propose(rule, signals, waiting, self._boot.mean)
        best = found[0]
        for other in found[1:]:
            if other.target > best.target:
                best = other
        if len(found) == 1:
            return best
        terms = tuple(replace(term, name=f"{each.name}.{term.name}") for each in found for term in each.terms)
        wakes = [each.wake_at for each in found if each.wake_at is not None]
        return replace(best, terms=terms, wake_at=min(wakes, default=None))

    def _lowest(self, signals: Signals) -> int:
        """What must not be gone below, whatever the objectives say."""
        if not signals.stale or signals.poll is None:
            return signals.busy + len(signals.starting)
        if signals.live:
            return signals.live
        # Where jobs kept coming, one will have come by now, although nobody says so.
        return int(self._wait.missed(signals.poll.at, signals.now) >= 1.0)

    def _blind(self, signals: Signals) -> Decision:
        """The source has never answered: as many as there are, or as there are to be at least."""
        reason = "the source has not answered yet: as many as there are"
        return _limited(Proposal("source", signals.live, reason, (), "source"), signals, signals.live)


def _goal(rule: ScaleRule) -> float:
    return WAIT if rule.wait is None else rule.wait


def _measured(rule: ScaleRule) -> bool:
    return rule.backlog is not None or rule.utilization is not None or rule.metric is not None


def _limited(best: Proposal, signals: Signals, lowest: int) -> Decision:
    target, limits, reason = best.target, [], best.reason
    if target < lowest:
        target = lowest
        if signals.stale:
            limits.append("the source does not answer: none is taken away because of that")
            reason = f"the source does not answer: {wording.workers(target)} stay"
        elif best.target < signals.live - signals.idle:
            limits.append(f"{wording.workers(lowest)} are busy or starting, and none of those is stopped")
    if target < signals.least:
        target = signals.least
        limits.append(f"at least {signals.least}")
    if target > signals.most:
        target = signals.most
        limits.append(f"at most {signals.most}")
    return Decision(max(0, target), best.target, reason, best.terms, best.winner, tuple(limits), best.wake_at)
