"""Fixtures of every test with real processes. The oracle looks last, when all else has been torn down."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.process.support.keeper import Keeper
from tests.process.support.oracle import Oracle
from tests.process.support.project import Procq

__all__ = ["Keepers", "Procqs", "keeper", "keepers", "oracle", "procqs", "tier"]

Keepers = Callable[..., Keeper]
Procqs = Callable[..., Procq]


@pytest.fixture
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """The tier that the test runs in, where its module asks for each; see tests/process/support/tiers.py."""
    chosen: int | None = getattr(request, "param", None)
    if chosen is not None:
        monkeypatch.setenv("PROCQ_TIER", str(chosen))
    return chosen


@pytest.fixture
def oracle(tier: int | None) -> Iterator[Oracle]:
    """Fails the test when anything of it is left."""
    oracle = Oracle()
    yield oracle
    leaks = oracle.leaks()
    oracle.clean_up()
    assert not leaks, f"left behind: {leaks}"


@pytest.fixture
def keepers(oracle: Oracle, tmp_path: Path) -> Iterator[Keepers]:
    """Starts keepers that the test owns."""
    with ExitStack() as started:

        def start(**hosting: Any) -> Keeper:
            keeper = Keeper(oracle, tmp_path, **hosting)
            started.callback(keeper.finish)
            return keeper

        yield start


@pytest.fixture
def keeper(keepers: Keepers) -> Keeper:
    """One of them."""
    return keepers()


@pytest.fixture
def procqs(oracle: Oracle, tmp_path: Path) -> Iterator[Procqs]:
    """Makes projects below `tmp_path`; their sockets are in a directory with a short name."""
    short = Path(tempfile.mkdtemp(prefix="pq-"))
    oracle.looks_at(short / "procq")
    names = (f"shop{n or ''}" for n in count())
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, short, ignore_errors=True)
        cleanup.callback(_look, oracle)

        def make(manifest: str, **options: Any) -> Procq:
            procq = Procq(oracle, tmp_path / next(names), short, manifest, **options)
            cleanup.callback(procq.finish)
            return procq

        yield make


def _look(oracle: Oracle) -> None:
    """While the directories are still there."""
    leaks = oracle.leaks()
    assert not leaks, f"left behind: {leaks}"
