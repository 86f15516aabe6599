"""A Redis of the test's own: on a unix socket in its scratch folder, in memory only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 30.0  # seconds; only ever spent by a test that fails
MISSING = "redis-server is not installed: apt-get install redis-server (the package has this name on Debian and Ubuntu)"


def installed() -> str:
    """The path of redis-server. Where it is missing the test is skipped on a person's machine, and fails in CI."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Runs Redis below `folder`, which it must not share; yields its URL as Celery wants it."""
    program = installed()
    folder.mkdir(mode=0o700)
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "eady to accept connections" in line:  # "The server is now ready …", "Ready …" since Redis 7
                    break
            else:
                pytest.fail("redis-server ended at once:\n" + "".join(said))
            yield f"redis+socket://{socket}"
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
