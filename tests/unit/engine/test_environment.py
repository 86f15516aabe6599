"""The environments of workers: what is remembered of them is bounded."""

from __future__ import annotations

import pytest

from procq.engine import environment
from procq.engine.environment import Environments
from procq.model import WorkerId
from tests.queues import queue


def test_queues_that_come_and_go_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_MOST", 3)
    environments = Environments({b"A": b"1"})
    kept = queue("kept")
    for number in range(10):
        environments.of(kept, "shop", WorkerId("kept", 1), number)
        passing = queue(f"passing-{number}")
        variables = environments.of(passing, "shop", WorkerId(passing.name, 1), number)
        assert f"PROCQ_QUEUE={passing.name}".encode() in variables
    assert list(environments._templates) == ["passing-8", "kept", "passing-9"]
