"""Fixtures of the chaos suite: those of tests/process."""

from __future__ import annotations

import pytest

from tests.process.support import tiers
from tests.process.support.fixtures import keeper, keepers, oracle, procqs, tier

__all__ = ["keeper", "keepers", "oracle", "procqs", "tier"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    tiers.generate(metafunc)
