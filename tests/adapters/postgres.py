"""A PostgreSQL of the test's own: on a unix socket in a scratch folder, and gone with it."""

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

import pytest

from tests.process.support.waiting import until

PATIENCE = 60.0  # seconds; only ever spent by a test that fails
MISSING = "PostgreSQL is not installed: apt-get install postgresql (the package has this name on Debian and Ubuntu)"
USER = "postgres"
"""Who runs the server where the test is root: PostgreSQL refuses to be."""


def installed() -> Path:
    """The folder of its programs. Where they are missing the test is skipped on a person's machine, and fails in CI."""
    # Debian has only the programs of clients in PATH.
    of_debian = [str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin")]
    found = shutil.which("initdb") or shutil.which("initdb", path=os.pathsep.join(sorted(of_debian, reverse=True)))
    if found is not None:
        return Path(found).resolve().parent
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@contextmanager
def postgres() -> Iterator[str]:
    """Runs PostgreSQL; yields how libpq finds its database."""
    programs = installed()
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
        with (
            log.open("w") as output,
            subprocess.Popen(serve, cwd=folder, stderr=output, text=True, **someone) as process,
        ):
            try:
                until(lambda: _accepts(log, process), lambda: f"PostgreSQL: {log.read_text()}", PATIENCE)
                yield f"postgresql:///postgres?host={folder}&user={USER}"
            finally:
                process.send_signal(signal.SIGQUIT)  # at once, whoever is connected
                try:
                    process.wait(PATIENCE)
                finally:
                    process.kill()


def _accepts(log: Path, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, log.read_text()
    return "ready to accept connections" in log.read_text()
