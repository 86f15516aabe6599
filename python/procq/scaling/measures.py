"""The objectives that count: `backlog`, `utilization` and `metric`. Pure.

Each says how many workers it takes now, and keeps for each level as `wait` does: what was needed a short while ago is
not taken away yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from procq.rules import ScaleRule
from procq.scaling import wording
from procq.scaling.proposal import Proposal
from procq.scaling.retention import Levels
from procq.scaling.signals import Signals, Term
from procq.scaling.tuning import KEEPING

_SMOOTH: Final = 10.0
"""Seconds over which the busy share is a mean: what is busy at one moment is chance."""
_MOST: Final = 1e9


class Measures:
    """The three of them for one queue, as far as its rule asks for them."""

    def __init__(self) -> None:
        self._levels = {name: Levels() for name in ("backlog", "utilization", "metric")}
        self._busy = 0.0
        self._at: float | None = None

    def propose(self, rule: ScaleRule, signals: Signals, waiting: float, boot: float) -> Iterator[Proposal]:
        """What each would have, before all limits."""
        keep = KEEPING[rule.style].usual(boot)
        for name, needed, text in self._needs(rule, signals, waiting):
            levels = self._levels[name]
            whole = math.ceil(min(max(0.0, needed), _MOST) - 1e-9)
            levels.mark(whole, signals.now)
            levels.forget(signals.now - keep)
            yield _proposal(name, whole, text, signals, levels, keep)

    def _needs(self, rule: ScaleRule, signals: Signals, waiting: float) -> Iterator[tuple[str, float, str]]:
        busy = self._smooth(signals)
        at_work = max(signals.jobs_at_work, signals.busy)
        if rule.backlog is not None:
            jobs = waiting + at_work
            yield "backlog", jobs / rule.backlog, f"{wording.jobs(jobs)}, {rule.backlog:g} for each worker"
        if rule.utilization is not None:
            needed = busy / rule.utilization
            if not signals.live and waiting:
                needed = max(needed, 1.0)
            yield "utilization", needed, f"{busy:.1f} workers busy, which should be {rule.utilization:.0%} of all"
        if rule.metric is not None and signals.poll is not None:
            value = min(max(0.0, signals.poll.waiting), 1e12)
            yield "metric", value / rule.metric, f"the source says {value:g}, {rule.metric:g} for each worker"

    def _smooth(self, signals: Signals) -> float:
        each = max(1.0, signals.concurrency)
        busy = min(float(signals.busy), max(signals.jobs_at_work, signals.busy if each == 1 else 0) / each)
        before, self._at = self._at, signals.now
        if before is None:
            self._busy = busy
        else:
            passed = min(max(0.0, signals.now - before), 100 * _SMOOTH)
            self._busy += (1 - math.exp(-passed / _SMOOTH)) * (busy - self._busy)
        return self._busy


def _proposal(name: str, needed: int, text: str, signals: Signals, levels: Levels, keep: float) -> Proposal:
    live, kept = signals.live, levels.kept(keep, signals.now)
    terms = (Term(name, needed, f"{text}: {wording.workers(needed)}"),)
    if needed >= live:
        more = needed - live
        return Proposal(name, needed, f"{text}: {f'{more} more' if more else 'as it is'}", terms, name)
    target = min(live, max(needed, kept))
    if target > needed:
        reason = wording.needed(target, keep)
        return Proposal(name, target, reason, terms, "retention", levels.until(keep, signals.now))
    return Proposal(name, target, f"{text}: {live - target} fewer", terms, name)
