"""The results as Markdown: those that were lost like those that were won."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from benches.scaling import budget, priority
from benches.scaling.contest import OURS, PER_JOB, POLICIES, Score, geometric, interval, mean
from benches.scaling.oracle import Bound
from benches.scaling.priority import Runs
from procq.simulate.result import Result

PROMISED: Final = 0.95
LIMITS: Final = {0.3: 1.2, 3.0: 1.4}
"""Worker hours for each hour of work that are aimed at, by boot."""

Key = tuple[float, str, str]
"""Boot, load and policy."""
Scores = Mapping[Key, Sequence[Score]]
Bounds = Mapping[tuple[float, str], Bound]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in Markdown."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def attained(scores: Sequence[Score]) -> float:
    """The mean over the seeds."""
    return mean([score.attained for score in scores])


def summary(scores: Scores, bounds: Bounds, boot: float, loads: Sequence[str]) -> str:
    """One row for each policy over all loads."""
    rows = []
    for policy in POLICIES:
        found = [scores[boot, load, policy] for load in loads]
        missed = [load for load, each in zip(loads, found, strict=True) if attained(each) < PROMISED]
        rows.append(
            (
                policy,
                f"{hours(scores, boot, loads, policy):.2f}",
                f"{spawns(scores, boot, loads, policy):.2f}",
                str(len(missed)),
                f"{mean([mean([score.p50 for score in each]) for each in found]):.1f} s",
                f"{mean([mean([score.reversals for score in each]) for each in found]):.0f}",
                f"{mean([mean([score.interrupted for score in each]) for each in found]):.1f}",
            )
        )
    oracle = geometric([bounds[boot, load].worker_seconds for load in loads])
    rows.append(("knows the future", f"{oracle:.2f}", "", "0", "", "", ""))
    head = ("policy", "hours", "workers started", "objectives missed", "median wait", "reversals", "interrupted")
    return table(head, rows)


def hours(scores: Scores, boot: float, loads: Sequence[str], policy: str) -> float:
    """Geometric mean over the loads of worker hours for each hour of work."""
    return geometric([mean([score.ratio for score in scores[boot, load, policy]]) for load in loads])


def spawns(scores: Scores, boot: float, loads: Sequence[str], policy: str) -> float:
    """Geometric mean over the loads of workers started, for each that `perjob30` starts."""
    ratios = []
    for load in loads:
        ours = mean([score.spawns + 1.0 for score in scores[boot, load, policy]])
        ratios.append(ours / mean([score.spawns + 1.0 for score in scores[boot, load, PER_JOB]]))
    return geometric(ratios)


def details(scores: Scores, bounds: Bounds, boot: float, loads: Sequence[str]) -> str:
    """One row for each load: procq beside one worker for each job, and beside who knows the future."""
    rows = []
    for load in loads:
        ours, theirs = scores[boot, load, OURS], scores[boot, load, PER_JOB]
        ratios = [score.ratio for score in ours]
        spread = f" ± {interval(ratios):.2f}" if len(ratios) > 1 else ""
        rows.append(
            (
                load,
                f"{attained(ours):.2%}",
                f"{min(score.attained for score in ours):.2%}",
                " / ".join(f"{mean([getattr(score, name) for score in ours]):.1f}" for name in ("p50", "p95", "p99")),
                f"{mean(ratios):.2f}{spread}",
                f"{mean([score.ratio for score in theirs]):.2f}",
                f"{bounds[boot, load].worker_seconds:.2f}",
                f"{mean([score.spawns for score in ours]):.0f}",
                f"{mean([score.spawns for score in theirs]):.0f}",
            )
        )
    head = ("load", "in time", "worst seed", "wait p50 / p95 / p99, s", "hours", PER_JOB, "future", "started", PER_JOB)
    return table(head, rows)


def losses(scores: Scores, boot: float, loads: Sequence[str]) -> Iterator[str]:
    """Where another policy that keeps the objective costs less, or `perjob30` starts fewer workers."""
    for load in loads:
        ours = scores[boot, load, OURS]
        mine = mean([score.ratio for score in ours])
        if attained(ours) < PROMISED:
            yield f"{load}: the objective is missed, {attained(ours):.1%} are in time"
        for policy in POLICIES:
            theirs = scores[boot, load, policy]
            cost = mean([score.ratio for score in theirs])
            if not policy.startswith(OURS) and attained(theirs) >= PROMISED and cost < 0.99 * mine:
                yield f"{load}: {policy} costs {cost:.2f}, procq {mine:.2f}"
        started = mean([score.spawns for score in ours])
        fewer = mean([score.spawns for score in scores[boot, load, PER_JOB]])
        if started > fewer:
            yield f"{load}: procq starts {started:.0f} workers, {PER_JOB} {fewer:.0f}"


def verdict(scores: Scores, boots: Sequence[float], loads: Sequence[str]) -> Iterator[str]:
    """What was aimed at, and whether it was reached."""
    for boot in boots:
        missed = [load for load in loads if attained(scores[boot, load, OURS]) < PROMISED]
        yield f"Boot {boot:g} s: objective met on {len(loads) - len(missed)} of {len(loads)} loads."
        cost, started = hours(scores, boot, loads, OURS), spawns(scores, boot, loads, OURS)
        if boot in LIMITS:
            yield f"Boot {boot:g} s: hours {cost:.2f}, aim {LIMITS[boot]}: {_met(cost <= LIMITS[boot])}."
        yield f"Boot {boot:g} s: workers started beside {PER_JOB}: {started:.2f}, aim 1: {_met(started <= 1)}."
    cut = sum(score.interrupted for (_, _, policy), each in scores.items() if policy == OURS for score in each)
    yield f"Busy workers interrupted: {cut}, aim 0: {_met(cut == 0)}."


def _met(is_met: bool) -> str:
    return "yes" if is_met else "NO"


def shared(boots: Sequence[float], seeds: int) -> str:
    """Three queues on one budget."""
    rows = [
        (f"{boot:g} s", name, f"{worst:.1%}", f"{ratio:.2f}", str(started))
        for boot in boots
        for name, worst, ratio, started in budget.rows(boot, seeds)
    ]
    return table(("boot", "way", "in time, worst queue", "hours", "workers started"), rows)


def prioritized(runs: Mapping[str, Runs]) -> str:
    """Queues of different priority on one budget: for each way and queue its share of jobs in time, and the waits."""
    rows = []
    for way, found in runs.items():
        whole = [result for results in found for result in results]
        costs = (
            f"{sum(each.worker_seconds for each in whole) / sum(each.work for each in whole):.2f}",
            f"{sum(each.spawns for each in whole) / len(found):.0f}",
            str(sum(each.interrupted for each in whole)),
        )
        waits = [_waits([results[index] for results in found]) for index in range(len(priority.KINDS))]
        rows.append((way, *waits, *costs))
    names = [f"{kind.name} ({kind.wait:g} s)" for kind in priority.KINDS]
    return table(("in time / 95 % within / longest", *names, "hours", "started", "interrupted"), rows)


def _waits(results: Sequence[Result]) -> str:
    """The mean share in time and 95th percentile, and the longest wait, of one queue with several seeds.

    Of jobs that still wait at the end only the least is known that they will have waited.
    """
    p95 = mean([each.percentile(0.95) for each in results])
    open_ended = any(int(0.95 * each.jobs) >= len(each.waits) for each in results)
    longest = max(max(each.waits[-1], each.moments[-1].wait) for each in results)
    left = any(each.left for each in results)
    in_time = mean([each.attained for each in results])
    return f"{in_time:.1%} / {'> ' * open_ended}{p95:.0f} s / {'> ' * left}{longest:.0f} s"


def degraded(by_boot: Mapping[float, Runs]) -> str:
    """What each queue costs, how long no worker was ready, and when it was in time again for the first time."""
    rows = []
    for boot, runs in by_boot.items():
        for index, kind in enumerate(priority.KINDS):
            results = [results[index] for results in runs]
            again = [each for each in map(priority.recovered, results) if each is not None]
            rows.append(
                (
                    f"{boot:g} s",
                    f"{kind.name}, priority {kind.claim.priority}, weight {kind.claim.weight:g}",
                    f"{mean([each.ratio for each in results]):.2f}",
                    f"{mean([each.spawns for each in results]):.0f}",
                    f"{max(map(priority.starved, results)):.0f} s",
                    f"{mean(again):.0f} s" if len(again) == len(results) else "not within the hour",
                )
            )
    head = ("boot", "queue", "hours", "started", "longest with nobody ready while late", "first in time again after")
    return table(head, rows)
