"""Runs the manifest: every queue with its workers, until ^C or `procq down`.

  procq up                     ./procq.yaml (or ./Procfile); output of all workers in this terminal
  procq up -d                  in the background; returns when the queues run
  procq up deploy/procq.yaml   another manifest
  procq up --name blue         a second copy of the same manifest

^C asks every worker to leave and waits for its grace period; ^C again kills at once.
Edit the manifest and save it: what changed is applied, everything else goes on undisturbed.
"""

from __future__ import annotations

import argparse

from procq.cli import background
from procq.cli.hosting import become, hosting
from procq.cli.lock import refuse_second
from procq.cli.project import project_of
from procq.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq up`."""
    parser.add_argument("manifest", nargs="?", metavar="FILE", help="the manifest (default: the one here)")
    parser.add_argument("-d", "--detach", action="store_true", help="run in the background, return when the queues run")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Becomes procq; with -d, starts it and waits until it works."""
    options.file = options.manifest or options.file
    project = project_of(options, must_exist=True)
    project.prepare()
    refuse_second(project)
    if not options.detach:
        become(hosting(project, options.name, color=terminal.color))
    background.start(project, lambda ready_fd: become(hosting(project, options.name, color=False, ready_fd=ready_fd)))
    terminal.line(f"{terminal.style(project.name, 'bold')} runs   `procq status` shows it, `procq down` stops it")
    terminal.line(terminal.style(f"its output is in {project.log_file}", "dim"))
    return 0
