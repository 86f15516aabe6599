"""Long trials of whole projects and of the end of everything; each prints its number and what it rules out."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.process.support.fixtures import Keepers, Procqs
from tests.process.support.household import disturb, move_in
from tests.process.support.oracle import Oracle
from tests.process.support.trials import SEED, SOAK, bound
from tests.process.support.versions import Version
from tests.process.support.waiting import until
from tests.process.test_cut_off import cut_off, everybody_is_known
from tests.process.test_fuzzed import MANIFEST, read_fuzzed_manifests
from tests.process.test_growth import descriptors, reload_many, sizes
from tests.process.test_upgrade import prove_that_upgrades_lose_nothing
from tests.soak.test_soak import slope

pytestmark = [pytest.mark.soak, pytest.mark.process]

BATCHES = 20
WARM = 1_000
"""Reloads before the first look: until all events that are remembered have been filled up."""
UPGRADES = 20
"""Of one life: its files have gigabytes by then."""
GROWTH = 100.0
"""Bytes a reload: what would be a megabyte after ten thousand."""


def test_reloads(procqs: Procqs) -> None:
    procq = procqs("queues:\n  w: sleep 1000\n").start(1)
    each = SOAK.reloads // BATCHES
    reload_many(procq, WARM)
    opened, used = descriptors(procq), []
    for _ in range(BATCHES):
        reload_many(procq, each)
        used.append(sizes(procq))
        until(lambda: all(now <= then for now, then in zip(descriptors(procq), opened, strict=True)), "no more of them")
    keeper, control_plane = (slope(list(each_of)) / each for each_of in zip(*used, strict=True))
    print(f"{SOAK.reloads} reloads: {keeper:+.1f} bytes each in the keeper, {control_plane:+.1f} in the control plane")
    assert max(keeper, control_plane) < GROWTH


def test_fuzzed_manifests(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(4)
    starts = procq.info().starts
    loaded = read_fuzzed_manifests(procq, SOAK.fuzzed, SEED)
    assert procq.info().starts == starts
    print(f"fuzzed manifests: {bound(SOAK.fuzzed)}; {loaded} of them loaded")


def test_shutdowns_in_the_middle_of_everything(keepers: Keepers, oracle: Oracle, tmp_path: Path) -> None:
    """Graceful ones, of what is hard to end, while it starts and stops."""
    for trial in range(SOAK.shutdowns):
        keeper = keepers()
        household = move_in(keeper, tmp_path / str(trial), grace=0.1)
        disturb(keeper, household, Random(SEED + trial))
        assert keeper.close() == 0
        assert household.alive() == []
        assert oracle.alive() == []
    print(f"graceful shutdowns: {bound(SOAK.shutdowns)}")


def test_upgrades_under_load(procqs: Procqs, tmp_path: Path) -> None:
    versions = Version(tmp_path, "7.0.0"), Version(tmp_path, "7.0.1")
    lives = SOAK.upgrades // UPGRADES
    for _ in range(lives):
        prove_that_upgrades_lose_nothing(procqs, versions, UPGRADES)
    print(f"upgrades under load: {bound(lives * UPGRADES)}")


def test_requests_that_are_cut_off(procqs: Procqs, oracle: Oracle) -> None:
    procq = procqs("queues:\n  w:\n    command: sleep 1000\n    workers: 3\n").start(3)
    random = Random(SEED)
    for _ in range(SOAK.cut_offs):
        cut_off(procq, random)
    procq.command("start", "w")
    procq.command("scale", "w=4")
    procq.wait_running(4)
    until(lambda: everybody_is_known(procq, oracle), "exactly those that are known")
    print(f"requests that are cut off: {bound(SOAK.cut_offs)}")
