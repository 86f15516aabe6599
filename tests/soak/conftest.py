"""Fixtures of the long trials: those of tests/process."""

import pytest

from tests.process.support import tiers
from tests.process.support.fixtures import keeper, keepers, oracle, procqs, tier

__all__ = ["keeper", "keepers", "oracle", "procqs", "tier"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    tiers.generate(metafunc)
