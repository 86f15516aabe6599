"""Fixtures of the tests with real processes."""

from tests.process.support.fixtures import keeper, keepers, oracle, procqs

__all__ = ["keeper", "keepers", "oracle", "procqs"]
