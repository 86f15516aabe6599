"""What all of them share: a program that is found, or said to be missing, and that runs for as long as it is wanted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.process.support.waiting import until

PATIENCE = 120.0  # seconds; only ever spent by a test that fails


def program(name: str, package: str, path: str = os.environ["PATH"]) -> Path:
    """The path of a program. Where it is missing the test is skipped on a person's machine, and fails in CI."""
    found = shutil.which(name, path=path)
    if found is not None:
        return Path(found)
    missing = f"{name} is not installed: apt-get install {package} (the package's name on Debian and Ubuntu)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@contextmanager
def serving(
    command: Sequence[str | Path],
    log: Path,
    accepts: Callable[[], bool] = lambda: True,
    stop: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[None]:
    """Runs a server, which writes to `log`; goes on as soon as it accepts, and ends it at last by the signal `stop`.

    Further options are those of `subprocess.Popen`.
    """
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, **options
        ) as server,
    ):

        def ready() -> bool:
            assert server.poll() is None, log.read_text(errors="replace")
            return accepts()

        try:
            until(ready, lambda: f"{command[0]}: {log.read_text(errors='replace')}", PATIENCE)
            yield
        finally:
            server.send_signal(stop)
            try:
                server.wait(PATIENCE)
            finally:
                server.kill()
