"""How `procq up` becomes procq: what the keeper is told, in the foreground and in the background."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from procq import core, service
from procq.daemon.options import Options
from procq.paths import Project

PREFIX_WIDTH = 13
"""Columns for the name of a worker in front of its output; longer names push their lines to the right."""
_MOST_OUTPUT = 10 << 20
"""Bytes of the file of `procq up -d`, and as many again in the one before."""


def hosting(
    project: Project,
    instance: str | None,
    *,
    color: bool,
    ready_fd: int | None = None,
    tier: int | None = None,
    verbose: int = 0,
) -> core.Hosting:
    """Everything the keeper needs to know. It writes a byte to `ready_fd` once the queues run.

    `tier` is what a person asked for, and an error where it cannot be had; `verbose` as in `Options`.
    """
    manager = service.own()
    options = Options(
        manifest=Path(project.manifest),
        instance=instance or "",
        since=time.monotonic(),
        prefix_width=PREFIX_WIDTH,
        color=color,
        service=manager is not None,
        verbose=verbose,
    )
    return core.Hosting(
        run_dir=project.run_dir,
        keeper_socket=project.keeper_socket,
        api_socket=project.api_socket,
        lock=project.lock,
        control=[*control_command(), *options.arguments()],
        environ=service.without(os.environ),
        service=manager,
        prefix_width=PREFIX_WIDTH,
        color=color,
        ready_fd=ready_fd,
        most_output=None if ready_fd is None else _MOST_OUTPUT,
        tier=tier,
        tier_required=tier is not None,
    )


def control_command() -> list[str]:
    """The command of a control plane of this version, without its options."""
    # -P: a file of the user's named like a module of the standard library must not be imported instead of it.
    return [sys.executable, "-P", "-m", "procq.daemon"]


def become(hosting: core.Hosting) -> NoReturn:
    """Turns this process into procq."""
    sys.stdout.flush()
    sys.stderr.flush()
    core.exec_host(hosting)
