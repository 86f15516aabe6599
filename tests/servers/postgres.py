"""PostgreSQL on a unix socket."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.serving import PATIENCE, program, serving

USER = "postgres"
"""Who runs the server where the test is root: PostgreSQL refuses to be."""


@contextmanager
def postgres() -> Iterator[str]:
    """Runs PostgreSQL; yields how libpq finds its database."""
    programs = _installed()
    # Not below pytest's folders, which nobody else may enter; nor as long as those, for the socket's sake.
    with tempfile.TemporaryDirectory(prefix="procq-postgres-") as name:
        folder = Path(name)
        someone: dict[str, Any] = {}
        if os.geteuid() == 0:
            someone = {"user": USER, "group": USER, "extra_groups": []}
            shutil.chown(folder, USER, USER)
        data, log = folder / "data", folder / "log"
        make = [str(programs / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        made = subprocess.run(
            make, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False, **someone
        )
        assert made.returncode == 0, made.stderr
        options = ["listen_addresses=", "fsync=off", "max_connections=200"]
        serve = [
            str(programs / "postgres"),
            "-D",
            str(data),
            "-k",
            name,
            *(word for each in options for word in ("-c", each)),
        ]
        # SIGQUIT: at once, whoever is connected.
        with serving(serve, log, lambda: "ready to accept connections" in log.read_text(), signal.SIGQUIT, **someone):
            yield f"postgresql:///postgres?host={folder}&user={USER}"


def _installed() -> Path:
    """The folder of its programs."""
    # Debian has only the programs of clients in PATH.
    of_debian = sorted((str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return program("initdb", "postgresql", os.pathsep.join([os.environ["PATH"], *of_debian])).resolve().parent
