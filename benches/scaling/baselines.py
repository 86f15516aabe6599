"""How others scale, written anew from what they publish. Each decides for one queue from the signals procq would have.

They are run as their defaults are, with a floor of one worker where theirs is one, and stop workers as they do: those
that terminate any worker give a job in hand thirty seconds, as Kubernetes and Heroku do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from procq.scaling.retention import Levels
from procq.scaling.signals import Signals
from procq.simulate.queue import Leave

Decide = Callable[[Signals], int]


class Each:
    """A fleet of queues that know nothing of each other."""

    def __init__(self, decide: Sequence[Decide], leave: Leave, grace: float = math.inf) -> None:
        self.leave, self.grace = leave, grace
        self._decide = decide

    def targets(self, signals: Sequence[Signals]) -> Sequence[int]:
        """As each decides."""
        return [decide(each) for decide, each in zip(self._decide, signals, strict=True)]


def waiting(signals: Signals) -> float:
    return 0.0 if signals.poll is None else signals.poll.waiting - signals.poll.soon


def job_time(signals: Signals) -> float:
    """The mean of all jobs so far; 0 where there is none."""
    return signals.job_seconds / signals.finished if signals.finished else 0.0


class PerJob:
    """One worker for each job that waits or runs; each level is kept for thirty seconds."""

    def __init__(self) -> None:
        self._levels = Levels()

    def __call__(self, signals: Signals) -> int:
        """The workers there should be."""
        self._levels.mark(math.ceil(waiting(signals)) + signals.jobs_at_work, signals.now)
        return self._levels.kept(30.0, signals.now)


class Celery:
    """`celery worker --autoscale`: celery/worker/autoscale.py, every second.

    As many processes as requests are reserved, which are those at work and four prefetched for each process; more at
    once, fewer when the last growth is 30 s ago, and then only those that are idle.
    """

    def __init__(self) -> None:
        self._grown: float | None = None

    def __call__(self, signals: Signals) -> int:
        """The workers there should be."""
        processes = signals.live
        reserved = signals.jobs_at_work + min(math.ceil(waiting(signals)), 4 * max(1, processes))
        if min(reserved, signals.most) > processes:
            self._grown = signals.now
            return min(reserved, signals.most)
        if self._grown is not None and signals.now - self._grown > 30.0:
            return max(1, reserved)
        return max(1, processes)


class Keda:
    """KEDA for a Redis list under the HorizontalPodAutoscaler of Kubernetes, both with their defaults.

    KEDA looks every 30 s whether anything waits (0 or 1 pod; back to 0 after 300 s), five in the list for each pod.
    The HPA acts every 15 s outside of 10 % tolerance, upwards by four pods or to twice as many, downwards to the most
    of what was right in the last 300 s.
    """

    _EACH: Final = 5.0

    def __init__(self) -> None:
        self._active = -math.inf
        self._current = 0
        self._recommended: deque[tuple[float, int]] = deque()

    def __call__(self, signals: Signals) -> int:
        """The workers there should be."""
        second = round(signals.now)
        if second % 30 == 0 and waiting(signals) > 0:
            self._active = signals.now
            self._current = max(1, self._current)
        if self._current and second % 30 == 0 and signals.now - self._active >= 300.0:
            self._current = 0
            self._recommended.clear()
        if self._current and second % 15 == 0:
            self._current = self._sync(signals)
        return self._current

    def _sync(self, signals: Signals) -> int:
        current, length = self._current, waiting(signals)
        ratio = length / (self._EACH * current)
        wanted = current if abs(ratio - 1.0) <= 0.1 else max(1, math.ceil(length / self._EACH))
        recommended = self._recommended
        recommended.append((signals.now, wanted))
        while recommended[0][0] < signals.now - 300.0:
            recommended.popleft()
        if wanted < current:
            wanted = min(current, max(number for _, number in recommended))
        return min(wanted, signals.most, max(current + 4, 2 * current))


class Horizon:
    """Laravel Horizon's AutoScaler for one or several queues that share `most` processes, at least one for each.

    Every three seconds: each queue's share of all processes is its share of the time that clearing all of them takes,
    reached in steps of `shift` processes. So one queue on its own gets all of them as soon as anything waits.
    """

    def __init__(self, shift: int, most: int | None = None) -> None:
        self.leave, self.grace = Leave.YOUNGEST, math.inf
        self._shift, self._most = shift, most
        self._targets: list[int] = []

    def targets(self, signals: Sequence[Signals]) -> Sequence[int]:
        """The processes of each queue."""
        if not self._targets:
            self._targets = [1] * len(signals)
        if round(signals[0].now) % 3 == 0:
            most = signals[0].most if self._most is None else self._most
            clear = [waiting(each) * job_time(each) for each in signals]
            # Queues with most to do come last, so that others have freed processes before.
            for index in sorted(range(len(signals)), key=clear.__getitem__):
                self._scale(index, clear, signals[index], most)
        return list(self._targets)

    def _scale(self, index: int, clear: Sequence[float], signals: Signals, most: int) -> None:
        now, total = self._targets[index], sum(self._targets)
        share = clear[index] / sum(clear) if sum(clear) > 0 else float(waiting(signals) > 0)
        wanted = max(1, math.ceil(share * most))
        if wanted > now:
            up = min(max(0, most - total), self._shift)
            self._targets[index] = min(now + up, most - (len(clear) - 1), wanted)
        elif wanted < now:
            self._targets[index] = max(now - min(total - 1, self._shift), 1, wanted)


class Judoscale:
    """Judoscale with its defaults, and half of the objective as the upper end of its range.

    Every ten seconds: one more when a job has waited longer than that; one fewer when none has waited a tenth of it
    for ten minutes, and no other was taken in that time.
    """

    def __init__(self, wait: float) -> None:
        self._high, self._low = wait / 2, wait / 20
        self._calm = 0.0
        self._current = 1

    def __call__(self, signals: Signals) -> int:
        """The workers there should be."""
        if round(signals.now) % 10 or signals.poll is None:
            return self._current
        age = signals.poll.oldest or 0.0
        if age > self._low:
            self._calm = signals.now
        if age > self._high:
            self._current = min(signals.most, self._current + 1)
        elif signals.now - self._calm >= 600.0 and self._current > 1:
            self._current -= 1
            self._calm = signals.now
        return self._current


class BacklogPerInstance:
    """AWS target tracking on the backlog per instance: as many as work it off within the objective, each minute.

    As its alarms do it grows after three minutes of too much, and shrinks after fifteen of too little.
    """

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._current = 1
        self._over = self._under = 0

    def __call__(self, signals: Signals) -> int:
        """The workers there should be."""
        if round(signals.now) % 60:
            return self._current
        wanted = max(1, math.ceil(waiting(signals) * job_time(signals) / self._wait))
        self._over = self._over + 1 if wanted > self._current else 0
        self._under = self._under + 1 if wanted < 0.9 * self._current else 0
        if self._over >= 3 or self._under >= 15:
            self._current = min(signals.most, wanted)
            self._over = self._under = 0
        return self._current


class Knative:
    """The Knative pod autoscaler: pkg/autoscaler/scaling/autoscaler.go, with one job for each pod at a time.

    Every two seconds: the mean of waiting and running over 60 s, or over 6 s in a panic, which begins when that asks
    for twice what is ready; 70 % of a pod are to be used. In a panic it never shrinks. It goes to zero after 30 s.
    """

    _TARGET: Final = 0.7

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()
        self._panic: float | None = None
        self._most = self._current = 0
        self._needed = 0.0

    def __call__(self, signals: Signals) -> int:
        """The workers there should be."""
        self._seen.append((signals.now, waiting(signals) + signals.jobs_at_work))
        while self._seen[0][0] <= signals.now - 60.0:
            self._seen.popleft()
        if round(signals.now) % 2 == 0:
            self._current = self._scale(signals)
        return self._current

    def _scale(self, signals: Signals) -> int:
        ready = max(1, signals.ready)
        stable = self._mean(signals.now, 60.0, ready)
        panic = self._mean(signals.now, 6.0, ready)
        over = math.ceil(self._mean(signals.now, 6.0, 0)) / ready >= 2.0
        if over:
            self._panic = signals.now
        elif self._panic is not None and self._panic + 60.0 < signals.now:
            self._panic, self._most = None, 0
        wanted = stable
        if self._panic is not None:
            self._most = wanted = max(stable, panic, self._most)
        if wanted:
            self._needed = signals.now
        return min(signals.most, wanted if wanted or signals.now - self._needed >= 30.0 else min(1, self._current))

    def _mean(self, now: float, seconds: float, ready: int) -> int:
        values = [value for at, value in self._seen if at > now - seconds]
        return max(math.ceil(sum(values) / len(values) / self._TARGET), ready // 2 if ready > 1 else 0)


class Static:
    """Always as many."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __call__(self, signals: Signals) -> int:
        """The workers there should be."""
        return self._workers
