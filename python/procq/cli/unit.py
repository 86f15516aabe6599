"""Prints a systemd unit that runs this manifest, for `systemctl` to start, reload, watch and stop.

  procq unit                   for the system's systemd; to be run as the user that the workers are to have
  procq unit --user            for your own systemd (`systemctl --user`)
  procq unit deploy/procq.yaml another manifest

As root:

  procq unit > /etc/systemd/system/shop.service
  systemctl daemon-reload && systemctl enable --now shop

Print it anew when procq moves. A longer grace period in the manifest needs no new unit.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from pathlib import Path

from procq.cli.project import project_of
from procq.cli.terminal import Terminal
from procq.errors import ProcqError

NOTIFY_RELOAD_SINCE = 253


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq unit`."""
    parser.add_argument("manifest", nargs="?", metavar="FILE", help="the manifest (default: the one here)")
    parser.add_argument("--user", action="store_true", help="for the systemd of your login instead of the system's")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Loads the manifest, for its grace periods, and prints the unit. Raises ManifestError."""
    options.file = options.manifest or options.file
    project = project_of(options, must_exist=True)
    from procq import manifest
    from procq.unit import Unit, longest_stop, render

    loaded = manifest.load(Path(project.manifest), os.environ)
    named = ("--name", options.name) if options.name else ()
    unit = Unit(
        name=options.name or loaded.name,
        procq=_program(),
        arguments=("up", *named, project.manifest),
        directory=os.path.dirname(project.manifest),
        path=os.environ.get("PATH", os.defpath),
        grace=longest_stop(loaded.queues.values()),
        user=None if options.user else _user(),
        uid=os.getuid(),
        reloads=_version() >= NOTIFY_RELOAD_SINCE,
    )
    terminal.line(render(unit).rstrip("\n"))
    return 0


def _program() -> str:
    """The command that runs now, by its path: what a unit names must be there. Raises ProcqError."""
    own = [os.path.abspath(sys.argv[0])] if os.path.basename(sys.argv[0]) == "procq" else []
    beside = os.path.join(os.path.dirname(sys.executable), "procq")
    for path in (*own, beside, os.path.join(sysconfig.get_path("scripts"), "procq")):
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise ProcqError(
        f"there is no command procq beside {sys.executable}, for the unit to run",
        hint="Install procq with pip, and run `procq unit` by that name.",
    )


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _version() -> int:
    """Of this machine's systemd; 0 where there is none, for the unit that every version reads."""
    import re
    import subprocess

    try:
        said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    found = re.match(r"systemd (\d+)", said)
    return int(found[1]) if found else 0
