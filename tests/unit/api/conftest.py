"""A shop with three queues behind an API, before an engine with a pretended keeper."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from procq.client import Client
from procq.testing import NOT_FOUND, Rig, Script
from tests.unit.api.serving import PATIENCE, SHOP, Served, served


def casting(worker: object, generation: int) -> Script:
    return Script(start_error=NOT_FOUND) if str(worker).startswith("broken") else Script()


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="procq-") as directory:
        yield Path(directory)


@pytest.fixture
def shop(short_path: Path) -> Iterator[Served]:
    rig = Rig(SHOP, casting)
    rig.advance(1)
    with served(rig, short_path) as running:
        yield running


@pytest.fixture
def client(shop: Served) -> Client:
    return Client(shop.project, timeout=PATIENCE)
