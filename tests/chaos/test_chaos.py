"""Chaos for a minute; `make chaos MINUTES=60` for an hour. `--seed` repeats a run that has failed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom

import pytest

from tests.chaos.run import Chaos
from tests.process.support.fixtures import Procqs
from tests.process.support.oracle import Oracle
from tests.process.support.versions import Version

pytestmark = pytest.mark.process


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one where one can be mounted; else a folder, whose disk is never full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "procq-chaos", str(folder)]
    mounted = subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.timeout(0)
def test_chaos(procqs: Procqs, oracle: Oracle, disk: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    versions = [Version(tmp_path, name) for name in ("7.0.0", "7.0.1")]
    seed = request.config.getoption("--seed")
    chaos = Chaos(SystemRandom().randrange(1 << 32) if seed is None else seed, procqs, oracle, disk, versions)
    chaos.run(60 * request.config.getoption("--minutes"))
    print(f"\n{chaos.summary()}")
