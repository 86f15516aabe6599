"""What it costs to decide for 500 queues each second, their sources read from one Redis: a share of one core."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from benches.kit import Row, Spread
from procq.model import Manifest, Queue
from procq.monitor.host import Host
from procq.monitor.scaler import TICK, Scaler
from procq.rules import ScaleRule, Source
from procq.scaling.guard import Pressure
from procq.scaling.sources.pool import Pool
from procq.testing.rig import Rig
from tests.servers.redis import redis_server

_QUEUES = 500
_TICKS = 30
_AIM = 0.15


def run(scratch: Path) -> list[Row]:
    """Idle queues, and such with jobs that wait."""
    with redis_server(scratch / "redis") as socket:
        return [_row(socket, busy) for busy in (False, True)]


def _row(socket: Path, busy: bool) -> Row:
    from redis import Redis

    names = [f"q{number}" for number in range(_QUEUES)]
    with Redis(unix_socket_path=str(socket)) as redis:
        for name in names if busy else []:
            redis.rpush(f"rq:queue:{name}", *range(20))
    rig = Rig(Manifest("bench", {name: _queue(name, socket) for name in names}))
    scaler = Scaler(rig.engine, Host(lambda roots: [(0.0, 1, 1, 1) for _ in roots], Pressure), sources=Pool())
    cpu, took = asyncio.run(_ticks(rig, scaler))
    share = sum(cpu) / len(cpu) / TICK
    what = f"{_QUEUES} queues, " + ("20 jobs wait in each" if busy else "all empty")
    aim = f"< {_AIM * 100:.0f} %"
    return Row(what, f"{share * 100:.1f} % of a core", f"a tick {Spread(took)}", "", aim, share < _AIM)


def _queue(name: str, socket: Path) -> Queue:
    plain = Queue(name, "work", ("work",), workers=0, most=8)
    return replace(plain, source=Source(f"rq+unix://{socket}"), scale=ScaleRule(wait=5.0))


async def _ticks(rig: Rig, scaler: Scaler) -> tuple[list[float], list[float]]:
    """Seconds of processor time, and on the clock, for each tick."""
    cpu, took = [], []
    scaler._take_up()
    for _ in range(_TICKS):
        began, used = time.perf_counter(), time.process_time()
        await scaler.tick()
        cpu.append(time.process_time() - used)
        took.append(time.perf_counter() - began)
        rig.advance(TICK)
    return cpu[3:], took[3:]
