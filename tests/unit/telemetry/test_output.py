"""The reader of workers' output where procq itself fails at it: that is told, once, and costs nothing else."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from procq.model import LogPolicy, Queue
from procq.telemetry.lane import Lane
from procq.telemetry.logs import Record
from procq.telemetry.output import Output
from procq.testing import Rig
from tests.queues import manifest, queue

PATIENCE = 30.0  # seconds; only ever spent by a test that fails


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[str]:
    """Where somebody listens who never says anything."""
    path = str(tmp_path / "keeper.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield path


def sent(workers: int = 1) -> Queue:
    return replace(queue(workers=workers), logs=LogPolicy(otlp=True))


async def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def no_thread(*_: object) -> Sequence[Lane[Record]]:
    raise RuntimeError("can't start new thread")


def test_lanes_that_cannot_be_had_are_told(keeper: str) -> None:
    async def story() -> list[str]:
        told: list[str] = []
        rig = Rig(manifest(queue()))
        output = Output(rig.engine, keeper, {}, told.append)
        output.build = no_thread
        output.begin(told=True)
        rig.adopt(manifest(sent()))
        await until(lambda: told and output.idle)
        rig.adopt(manifest(sent(2)))
        assert len(rig.keeper.alive()) == 2
        output.leave()
        return told

    assert asyncio.run(story()) == [
        "output of workers is not sent until procq is restarted: procq failed to read it "
        "(RuntimeError: can't start new thread)"
    ]


def test_a_thread_that_cannot_be_had_is_told_and_ends_no_control_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> list[str]:
        told: list[str] = []
        rig = Rig(manifest(queue()))
        output = Output(rig.engine, "/nowhere", {}, told.append)
        output.build = no_thread
        output.begin(told=True)
        with monkeypatch.context() as exhausted:
            exhausted.setattr(threading.Thread, "start", no_thread)
            rig.adopt(manifest(sent()))
        for workers in (2, 3):
            rig.adopt(manifest(sent(workers)))
        assert len(rig.keeper.alive()) == 3
        assert output.idle
        await asyncio.sleep(0)
        return told

    assert asyncio.run(story()) == [
        "output of workers is not sent until procq is restarted: procq failed to follow the manifest "
        "(RuntimeError: can't start new thread)"
    ]
