"""Runs the manifest: every queue with its workers, until ^C or `procq down`.

  procq up                     ./procq.yaml (or ./Procfile); output of all workers in this terminal
  procq up -d                  in the background; returns once every worker is ready, or has failed
  procq up --wait              in the background; returns once every worker is ready, and fails where one is not
  procq up --wait=2m           the same, for at most two minutes
  procq up --dry-run           what it would do; starts nothing
  procq up deploy/procq.yaml   another manifest
  procq up --name blue         a second copy of the same manifest

^C asks every worker to leave and waits for its grace period; ^C again kills at once.
Edit the manifest and save it: what changed is applied, everything else goes on undisturbed.
Where procq runs already, --wait waits for what it runs, also for a roll-out; --dry-run shows what a save would change.

Exit code: 0 done; with --wait 1 where a worker failed or time was up; with --dry-run 0 nothing would change,
2 something would; 4 the manifest is not valid.
"""

from __future__ import annotations

import argparse
from functools import partial

from procq.cli import background
from procq.cli.hosting import become, hosting
from procq.cli.lock import refuse_second
from procq.cli.project import project_of
from procq.cli.terminal import Terminal
from procq.errors import ExitCode, UsageError
from procq.paths import Project

FOR_EVER = "for ever"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq up`."""
    parser.add_argument("manifest", nargs="?", metavar="FILE", help="the manifest (default: the one here)")
    parser.add_argument("-d", "--detach", action="store_true", help="run in the background, return when all is started")
    parser.add_argument(
        "--wait",
        nargs="?",
        const=FOR_EVER,
        metavar="TIME",
        help="run in the background, return when every worker is ready; --wait=30s for at most so long",
    )
    parser.add_argument(
        "--tier",
        choices=("1", "2", "3"),
        help="how workers are held together: 1 marks, 2 control groups as well, 3 in a PID namespace of their own; "
        "an error where it cannot be had (default: 2 where it can, $PROCQ_TIER)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="tell spawns, signals and decisions too")
    parser.add_argument("--debug", action="store_true", help="as -v, and each message to and from the keeper")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="with --dry-run: one JSON document instead of text")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Becomes procq; with -d and --wait, starts it and waits until it works."""
    patience = _patience(options)
    options.file = options.manifest or options.file
    project = project_of(options, must_exist=True)
    if options.dry_run:
        return _dry_run(project, options, terminal)
    if options.wait and _runs(project):
        return _wait(project, patience, terminal, "running")
    project.prepare()
    refuse_second(project)
    tier = None if options.tier is None else int(options.tier)
    chosen = partial(hosting, project, options.name, tier=tier, verbose=2 if options.debug else int(options.verbose))
    if not (options.detach or options.wait):
        become(chosen(color=terminal.color))
    background.start(project, lambda ready_fd: become(chosen(color=False, ready_fd=ready_fd)))
    terminal.line(f"{terminal.style(_name(project), 'bold')} runs   `procq status` shows it, `procq down` stops it")
    terminal.line(terminal.style(f"its output is in {project.log_file}", "dim"))
    return _wait(project, patience, terminal, "started") if options.wait else ExitCode.DONE


def _patience(options: argparse.Namespace) -> float | None:
    """Seconds that --wait may take. Raises UsageError."""
    if options.json and not options.dry_run:
        raise UsageError("--json goes with --dry-run", hint="`procq status --json` shows what runs.")
    if options.wait is None or options.wait == FOR_EVER:
        return None
    from procq.cli.times import duration_of

    try:
        return duration_of(options.wait, "--wait")
    except UsageError:
        if options.manifest is not None:
            raise
        # `procq up --wait deploy/procq.yaml`: what follows is the manifest.
        options.manifest = options.wait
        return None


def _name(project: Project) -> str:
    """What a project that runs calls itself: as its manifest does."""
    from procq.client import Client

    return Client(project).status([]).project


def _runs(project: Project) -> bool:
    from procq.client import Client
    from procq.errors import NotRunning

    try:
        return not Client(project).info().shutting_down
    except NotRunning:
        return False


def _wait(project: Project, patience: float | None, terminal: Terminal, done: str) -> int:
    """Waits for all that is wanted, also from a roll-out: what was stopped by hand is not."""
    from dataclasses import replace

    from procq.cli.waiting import RUNNING, wait_for
    from procq.client import Client
    from procq.wire import Affected

    client = Client(project)
    wanted = [worker for worker in client.status(["*"]).workers if worker.wanted]
    queues = dict.fromkeys(worker.queue for worker in wanted)
    affected = Affected(tuple(worker.id for worker in wanted), tuple(queues))
    return wait_for(client, affected, terminal, replace(RUNNING, done=done, settled=True), patience=patience)


def _dry_run(project: Project, options: argparse.Namespace, terminal: Terminal) -> int:
    from procq.cli.plan import show
    from procq.client import Client
    from procq.errors import NotRunning

    try:
        plan, running = Client(project).plan(), True
    except NotRunning:
        import os
        from pathlib import Path

        from procq.preview import from_nothing

        plan, running = from_nothing(Path(project.manifest), os.environ), False
    return show(plan, options, terminal, running=running)
