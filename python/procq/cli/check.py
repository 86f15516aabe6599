"""Reads a manifest as `procq up` would, and says what is wrong with it. Runs nothing.

  procq check                  the manifest here
  procq check deploy/procq.yaml

Exit code: 0 valid, 4 not valid.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from procq.cli.project import project_of
from procq.cli.terminal import Terminal
from procq.text import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq check`."""
    parser.add_argument("manifest", nargs="?", metavar="FILE", help="the manifest (default: the one here)")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Loads the manifest; a ManifestError carries all its problems."""
    options.file = options.manifest or options.file
    project = project_of(options, must_exist=True)
    from procq import manifest

    loaded = manifest.load(Path(project.manifest), os.environ)
    queues = loaded.queues.values()
    workers = sum(queue.workers for queue in queues)
    terminal.line(
        f"{os.path.relpath(project.manifest)} is valid: {count(len(queues), 'queue')}, {count(workers, 'worker')}"
    )
    return 0
