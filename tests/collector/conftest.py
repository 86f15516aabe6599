"""Fixtures of the tests with the Collector."""

from tests.process.support.fixtures import oracle, procqs, tier

__all__ = ["oracle", "procqs", "tier"]
