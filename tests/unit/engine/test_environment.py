"""The environments of workers: what is remembered of them is bounded, and what they are told of traces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procq.engine import environment
from procq.engine.environment import Environments
from procq.model import Queue, RestartPolicy, RestartWhen, WorkerId
from procq.telemetry.life import boot_id, context_of, traceparent
from procq.telemetry.offer import traced
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


def of(environments: Environments, kept: Queue, generation: int, looks_after: int | None = None) -> dict[bytes, bytes]:
    pairs = environments.of(kept, "shop", WorkerId(kept.name, 1), generation, looks_after)
    found = dict(pair.split(b"=", 1) for pair in pairs)
    assert len(found) == len(pairs), "nothing is said twice"
    return found


CAUSE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
INHERITED = {b"PROCQ_SPAN": CAUSE}


def test_a_worker_is_told_the_span_of_its_life_where_that_is_sent() -> None:
    environments = Environments(INHERITED, traced=True)
    environments.instance = 0xBEEF
    life = traceparent(context_of(boot_id(), 0xBEEF, 7)).encode()
    found = of(environments, queue("emails"), 7)
    assert found[b"PROCQ_SPAN"] == life
    assert b"TRACEPARENT" not in found, "it outlives whatever has caused it"
    assert of(environments, queue("emails"), 8)[b"PROCQ_SPAN"] != life


def test_what_runs_once_has_its_life_for_a_parent() -> None:
    environments = Environments(INHERITED, traced=True)
    once = replace(queue("migrate"), restart=RestartPolicy(RestartWhen.NEVER))
    found = of(environments, once, 7)
    assert found[b"TRACEPARENT"] == found[b"PROCQ_SPAN"] != CAUSE
    own = replace(once, env={"TRACEPARENT": CAUSE.decode()})
    assert of(environments, own, 7)[b"TRACEPARENT"] == CAUSE, "what a manifest says counts more"


def test_a_command_that_looks_after_a_worker_is_told_the_life_of_that() -> None:
    environments = Environments(INHERITED, traced=True)
    once = replace(queue("migrate"), restart=RestartPolicy(RestartWhen.NEVER))
    found = of(environments, once, 8, looks_after=7)
    assert found[b"PROCQ_SPAN"] == of(environments, once, 7)[b"PROCQ_SPAN"]
    assert b"TRACEPARENT" not in found
    assert found[b"PROCQ_GENERATION"] == b"8"


def test_where_nothing_is_sent_nothing_is_said_and_nothing_left_out() -> None:
    environments = Environments({**INHERITED, b"TRACEPARENT": CAUSE})
    for kept in (queue("emails"), replace(queue("migrate"), restart=RestartPolicy(RestartWhen.NEVER))):
        found = of(environments, kept, 7)
        assert found[b"TRACEPARENT"] == CAUSE
        assert b"PROCQ_SPAN" not in found, "another procq's"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://localhost:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_lives_are_sent_where_traces_are(variables: dict[str, str], told: bool) -> None:
    assert traced(variables) is told
