"""Fixtures of the long trials: those of tests/process."""

from tests.process.support.fixtures import keeper, keepers, oracle, procqs

__all__ = ["keeper", "keepers", "oracle", "procqs"]
