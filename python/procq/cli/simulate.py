"""Shows how a queue would be scaled: a load is replayed in virtual time through the policy that scales queues here.

  procq simulate --load flash                       a load that is made up
  procq simulate --load jobs.csv --job-time 2s      your own: a column of times, or one of times and one of counts
  procq simulate --load history:emails --job-time 2s --since 3d
                                                    what a queue here has lived through, by its journal
  procq simulate --load step --wait 10s --boot 20s  other circumstances
  procq simulate --load step --chart step.svg       draws it into a file as well

Made up are diurnal, step, flash, on-off, heavy-tail, drift, long-jobs, retry-storm, cliff, failing-source, roll-out and
several. Of a file that is longer than a week the last week is taken.
Nothing is started, and no procq need run. The same arguments give the same result.

Exit code: 0 the objective is met, 2 it is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procq.cli.times import duration_of, moment_of
from procq.errors import ExitCode, ProcqError, UsageError
from procq.rules import Style
from procq.text import count, duration

if TYPE_CHECKING:
    from procq.cli.terminal import Terminal
    from procq.simulate.load import Load
    from procq.simulate.result import Result
    from procq.simulate.trial import Trial

_POINTS = 600
_HISTORY = "history:"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq simulate`."""
    add_circumstances(parser)
    styles = [str(style) for style in Style]
    parser.add_argument(
        "--style", choices=styles, default="balanced", help="how readily idle workers are kept (balanced)"
    )
    parser.add_argument("--chart", metavar="FILE.svg", help="draw it into this file as well")


def add_circumstances(parser: argparse.ArgumentParser) -> None:
    """Defines the options that say what is scaled, and in which circumstances."""
    parser.add_argument(
        "--load", required=True, metavar="LOAD", help="what comes: a made-up load, FILE.csv, or history:QUEUE"
    )
    parser.add_argument("--since", default="1d", metavar="TIME", help="of a history: how far back, or since when (1d)")
    parser.add_argument(
        "--wait", metavar="TIME", help="95%% of the jobs are to begin within this (30s, or as the load has it)"
    )
    parser.add_argument("--workers", metavar="A..B", help="the range (0 to what the load has as its most)")
    parser.add_argument("--job-time", metavar="TIME", help="what a job takes in the mean (1s, or as the load has it)")
    parser.add_argument("--boot", default="3s", metavar="TIME", help="how long a worker takes until it is ready (3s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another load of the same kind (0)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Replays the load once and shows what came of it."""
    from procq.simulate.trial import PROMISED

    trial = trial_of(options, Style(options.style))
    result = trial.run(trial.step(_POINTS))
    if options.chart is not None:
        _draw(Path(options.chart), trial, result)
    if options.json:
        terminal.line(json.dumps(document(trial, result), indent=2 if terminal.is_terminal else None))
    else:
        terminal.lines(_lines(trial, result))
    return ExitCode.DONE if result.attained >= PROMISED else ExitCode.DIFFERENCES


def trial_of(options: argparse.Namespace, style: Style) -> Trial:
    """What the options ask for. Raises UsageError where they make no sense."""
    from procq.simulate.trial import Trial, load_of, within

    wait = None if options.wait is None else _positive(options.wait, "--wait")
    job_time = None if options.job_time is None else _positive(options.job_time, "--job-time")
    least, most = (0, None) if options.workers is None else _range(options.workers)
    if options.load.startswith(_HISTORY):
        load = within(_history(options, job_time), wait, most)
    else:
        load = load_of(options.load, wait, most, job_time, options.seed)
    return Trial(load, style, least, _positive(options.boot, "--boot"), options.seed)


def _history(options: argparse.Namespace, job_time: float | None) -> Load:
    """What a queue of this project has lived through, by its journal."""
    from procq.cli.project import project_of
    from procq.journal.reader import samples
    from procq.journal.record import FILE
    from procq.simulate.history import from_samples

    if job_time is None:
        raise UsageError(
            "Say what a job takes: --job-time 2s.", "The journal has when jobs came, and not how long each took."
        )
    now, queue = time.time(), options.load.removeprefix(_HISTORY)
    since = moment_of(options.since, "--since", now)
    seen = samples(Path(project_of(options).state_dir) / FILE, queue, since, now)
    return from_samples(queue, seen, job_time, options.seed)


def _positive(text: str, option: str) -> float:
    seconds = duration_of(text, option)
    if seconds <= 0:
        raise UsageError(f'{option}: "{text}" is no time at all', hint="Write it as 500ms, 30s, 5m, 2h or 1d.")
    return seconds


def _range(text: str) -> tuple[int, int]:
    least, dots, most = text.partition("..")
    if dots and least.isdecimal() and most.isdecimal() and int(least) <= int(most) and int(most) > 0:
        return int(least), int(most)
    raise UsageError(f'--workers: "{text}" is not a range', hint="Write it as 0..20.")


def document(trial: Trial, result: Result) -> dict[str, Any]:
    """A result for programs: times in seconds."""
    return {
        "load": trial.load.name,
        "style": str(trial.style),
        "wait": trial.load.wait,
        "boot": trial.boot,
        "least": trial.least,
        "most": trial.load.most,
        "jobs": result.jobs,
        "attained": round(result.attained, 6),
        "wait_p50": round(result.percentile(0.5), 3),
        "wait_p95": round(result.percentile(0.95), 3),
        "wait_p99": round(result.percentile(0.99), 3),
        "worker_seconds": round(result.worker_seconds, 1),
        "work_seconds": round(result.work, 1),
        "started": result.spawns,
        "peak": result.peak,
        "interrupted": result.interrupted,
    }


def _draw(path: Path, trial: Trial, result: Result) -> None:
    from procq.simulate.chart import svg

    try:
        path.write_text(svg(f"{trial.load.name}, {trial.style}", result))
    except OSError as error:
        raise ProcqError(f"{path} cannot be written: {error.strerror}.", "Choose another file for --chart.") from error


def _lines(trial: Trial, result: Result) -> list[str]:
    from procq.simulate.chart import blocks

    load, columns = trial.load, shutil.get_terminal_size((100, 24)).columns
    name = os.path.basename(load.name)
    halves = [duration(result.percentile(share)) for share in (0.5, 0.95, 0.99)]
    return [
        f"{name}: {count(result.jobs, 'job')} in {duration(load.seconds)}, boots of {duration(trial.boot)}, "
        f"{trial.least} to {count(load.most, 'worker')}, {trial.style}",
        "",
        *blocks(result, columns),
        "",
        f"{result.attained:.1%} of the jobs began within {duration(load.wait)}; 95% are to.",
        f"Half began within {halves[0]}, 95% within {halves[1]}, 99% within {halves[2]}.",
        f"{result.ratio:.2f} worker hours for each hour of work: {duration(result.worker_seconds)} for "
        f"{duration(result.work)}.",
        f"{count(result.spawns, 'worker')} started, {result.peak} at the same time.",
    ]
