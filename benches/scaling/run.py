"""Scales simulated queues by procq's policy and by others', and reports what each costs and misses.

benches/scaling/run.py                          the loads that are made up
benches/scaling/run.py --traces FOLDER          and the CSV files of a folder
benches/scaling/run.py --seeds 20 --rivals 3    procq on so many seeds, the others on fewer
benches/scaling/run.py --budgets                only those that share a budget
benches/scaling/run.py --out FOLDER             writes report.md and charts there as well

The same arguments give the same numbers. A run with the defaults takes about twenty minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benches.scaling.report import Bounds, Scores

# Run as a script, so that its neighbours are found wherever it is called from.
sys.path[:0] = [str(Path(__file__).parent.parent.parent)]

BOOTS = (0.3, 3.0, 20.0)


def main(arguments: Sequence[str]) -> int:
    """Runs the contest and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, metavar="FOLDER", help="a folder of CSV files to run as well")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="seeds for procq (20)")
    parser.add_argument("--rivals", type=int, default=2, metavar="N", help="seeds for the others (2)")
    parser.add_argument("--budgets", action="store_true", help="only the queues that share a budget")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the report and charts there")
    options = parser.parse_args(arguments)
    parts = []
    seeds, rivals = max(1, options.seeds), max(1, min(options.rivals, options.seeds))
    for part in budgets(rivals) if options.budgets else report(options.traces, seeds, rivals):
        print(part, flush=True)
        parts.append(part)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.md").write_text("\n".join(parts))
        _charts(options.out)
    return 0


def report(traces: Path | None, seeds: int, rivals: int) -> Iterator[str]:
    """The parts of the report, as they become known."""
    from benches.scaling import report as made

    scores, bounds, loads = _contest(traces, seeds, rivals)
    yield f"{seeds} seeds for procq, {rivals} for the others; traces are run once.\n"
    yield "\n".join(f"- {line}" for line in made.verdict(scores, BOOTS, loads)) + "\n"
    for boot in BOOTS:
        yield f"## Boots of {boot:g} s\n\n{made.summary(scores, bounds, boot, loads)}\n"
        yield f"{made.details(scores, bounds, boot, loads)}\n"
        lost = [f"- {line}" for line in made.losses(scores, boot, loads)]
        yield "Lost:\n\n" + ("\n".join(lost) if lost else "- nothing") + "\n"
    yield from budgets(rivals)


def budgets(seeds: int) -> Iterator[str]:
    """The parts of the report in which queues share a budget."""
    from benches.scaling import priority
    from benches.scaling import report as made

    yield f"## Three queues on one budget\n\n{made.shared(BOOTS, seeds)}\n"
    yield "## Queues of different priority on one budget\n"
    ours = {}
    for boot in BOOTS:
        runs = priority.contest(boot, seeds)
        yield f"Boots of {boot:g} s:\n\n{made.prioritized(runs)}\n"
        ours[boot] = runs[priority.PRIORITIES]
    yield f"What becomes of each, by priority:\n\n{made.degraded(ours)}\n"


def _contest(traces: Path | None, seeds: int, rivals: int) -> tuple[Scores, Bounds, list[str]]:
    from benches.scaling.contest import OURS, POLICIES, Score, score
    from benches.scaling.oracle import Bound, clairvoyant
    from benches.scaling.traces import traces as read
    from procq.simulate.synthetic import LOADS, named

    scores: dict[tuple[float, str, str], list[Score]] = {}
    bounds: dict[tuple[float, str], Bound] = {}
    loads: list[str] = []
    for seed in range(seeds):
        made = [named(name, seed) for name in LOADS]
        made += list(read(traces, seed)) if traces is not None and seed == 0 else []
        for load in made:
            if seed == 0:
                loads.append(load.name)
            for boot in BOOTS:
                if seed == 0:
                    bound = clairvoyant(load, boot)
                    bounds[boot, load.name] = replace(bound, worker_seconds=bound.worker_seconds / load.work)
                for policy in POLICIES if seed < rivals else (OURS,):
                    scores.setdefault((boot, load.name, policy), []).append(score(load, policy, boot, seed))
            print(f"seed {seed}: {load.name}", file=sys.stderr, flush=True)
    return scores, bounds, loads


def _charts(folder: Path) -> None:
    from benches.scaling.contest import POLICIES
    from procq.simulate.chart import svg
    from procq.simulate.engine import Settings, simulate
    from procq.simulate.synthetic import named

    for name in ("flash", "step", "failing-source"):
        load = named(name, 0)
        for policy in ("procq", "HPA and KEDA", "perjob30"):
            result = simulate([load], POLICIES[policy](load), Settings(boot=3.0, moments=5))[0]
            file = folder / f"{name}-{policy.replace(' ', '-').lower()}.svg"
            file.write_text(svg(f"{load.name}, {policy}, boots of 3 s", result))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
