"""Telemetry on an engine whose keeper is pretended: a fault of its own, and nothing to send to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from procq.history import History
from procq.model import LogPolicy
from procq.telemetry.config import Batching, Config, Endpoint, Means, Signal, Way
from procq.telemetry.family import Family
from procq.telemetry.output import Output
from procq.telemetry.running import Telemetry
from procq.telemetry.tracker import Tracker
from procq.testing import Rig
from tests.queues import manifest, queue

OTLP = {"OTEL_TRACES_EXPORTER": "console"}


async def nothing() -> Sequence[Family]:
    return []


def test_nobody_asks() -> None:
    rig = Rig(manifest(queue()))
    assert Telemetry.of({}, rig.engine, History(), print) is None


def test_a_fault_of_its_own_ends_traces_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of procq")

    async def story() -> list[str]:
        told: list[str] = []
        rig = Rig(manifest(queue()))
        telemetry = Telemetry.of(OTLP, rig.engine, History(), told.append)
        assert telemetry is not None
        monkeypatch.setattr(Tracker, "happened", broken)
        for workers in (2, 3):
            rig.adopt(manifest(queue(workers=workers)))
            rig.advance(1)
        await asyncio.sleep(0)
        assert len(rig.keeper.alive()) == 3
        telemetry.refused("procq.yaml", 1.0)
        return told

    (told,) = asyncio.run(story())
    assert told.startswith("traces are not sent any more: procq failed to follow events (ZeroDivisionError")


def test_what_cannot_be_obeyed_is_told_and_that_is_all() -> None:
    async def story() -> list[str]:
        told: list[str] = []
        rig = Rig(manifest(queue()))
        telemetry = Telemetry.of({"OTEL_TRACES_EXPORTER": "zipkin"}, rig.engine, History(), told.append)
        assert telemetry is not None
        await telemetry.run(nothing, "shop", 0.0)
        await telemetry.close()
        return told

    assert asyncio.run(story()) == [
        "OTEL_TRACES_EXPORTER asks for 'zipkin', which procq has not: otlp, console or none"
    ]


def test_traces_that_cannot_be_sent_hold_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log is sent, though spans wait for an exporter that cannot be had."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    asked = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_LOGS_EXPORTER": "console"}

    async def story() -> list[str]:
        told: list[str] = []
        rig, history = Rig(manifest(queue())), History()
        telemetry = Telemetry.of({**asked, "OTEL_BLRP_SCHEDULE_DELAY": "1"}, rig.engine, history, told.append)
        assert telemetry is not None
        rig.adopt(manifest(queue(workers=2)))
        rig.advance(1)
        assert telemetry._early
        history.note("trouble", "it is so")
        sending = asyncio.create_task(telemetry.run(nothing, "shop", 0.0))
        said = ""
        while "it is so" not in said:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().out
        assert not telemetry._early
        sending.cancel()
        return told

    (told,) = asyncio.run(story())
    assert told.startswith("telemetry: traces are not sent: the Python package grpc is missing")


def test_an_address_that_nobody_can_name_costs_that_way_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = Way(Means.HTTP, Batching(0.0), Endpoint("http://u:hunter2@[::1:4318"))
    config = Config({Signal.TRACES: (wrong, Way(Means.CONSOLE, Batching(0.0)))})

    async def story() -> list[str]:
        told: list[str] = []
        rig = Rig(manifest(queue()))
        telemetry = Telemetry(config, {}, rig.engine, History(), told.append)
        rig.adopt(manifest(queue(workers=2)))
        rig.advance(1)
        await telemetry.run(nothing, "shop", 0.0)
        await telemetry.close()
        await asyncio.sleep(0)
        return told

    (told,) = asyncio.run(story())
    assert told == "telemetry: traces are not sent: the exporter cannot be built (ValueError)"
    assert '"name": "procq.worker.start"' in capsys.readouterr().out


def test_output_is_not_read_for_somebody_who_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of its own while it begins: who reads output must not wait for it."""
    monkeypatch.setattr(Telemetry, "_built", lambda *_: 1 / 0)

    async def story() -> list[str]:
        told: list[str] = []
        rig = Rig(manifest(queue()))
        telemetry = Telemetry.of(OTLP, rig.engine, History(), told.append)
        assert telemetry is not None
        telemetry.output = Output(rig.engine, "/nowhere", OTLP, told.append)
        with pytest.raises(ZeroDivisionError):
            await telemetry.run(nothing, "shop", 0.0)
        rig.adopt(manifest(replace(queue(), logs=LogPolicy(otlp=True))))
        rig.advance(1)
        assert telemetry.output._reader is None
        await telemetry.close()
        return told

    assert asyncio.run(story()) == []


def test_what_happens_before_it_can_be_sent_is_kept_within_bounds() -> None:
    rig = Rig(manifest(queue()))
    telemetry = Telemetry.of({**OTLP, "OTEL_BSP_MAX_QUEUE_SIZE": "5"}, rig.engine, History(), print)
    assert telemetry is not None
    for workers in range(2, 20):
        rig.adopt(manifest(queue(workers=workers)))
        rig.advance(1)
    assert len(telemetry._early) == 5


@pytest.mark.parametrize("room", [5, 2048])
def test_what_there_was_no_room_for_before_it_could_be_sent_is_counted(
    room: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> tuple[int, int]:
        rig = Rig(manifest(queue()))
        environ = {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_MAX_QUEUE_SIZE": str(room)}
        telemetry = Telemetry.of({**environ, "OTEL_BSP_SCHEDULE_DELAY": "1"}, rig.engine, History(), print)
        assert telemetry is not None
        for workers in range(2, 20):
            rig.adopt(manifest(queue(workers=workers)))
            rig.advance(1)
        sending = asyncio.create_task(telemetry.run(nothing, "shop", 0.0))
        while not (telemetry._all() and all(lane.idle for lane in telemetry._all())):
            await asyncio.sleep(0.01)
        sending.cancel()
        lost = [point.value for point in telemetry._lost().points if ("signal", "traces") in point.labels]
        assert all(isinstance(number, int) for number in lost)
        return capsys.readouterr().out.count('"name": "procq.'), int(sum(lost))  # type: ignore[arg-type]

    # A change with its plan, and the start of a worker with its readiness.
    number = 18 * 4
    assert asyncio.run(story()) == (min(room, number), max(0, number - room))
