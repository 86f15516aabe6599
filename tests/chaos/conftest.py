"""Fixtures of the chaos suite: those of tests/process."""

from tests.process.support.fixtures import keeper, keepers, oracle, procqs

__all__ = ["keeper", "keepers", "oracle", "procqs"]
