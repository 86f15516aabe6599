"""How long the engine thinks, and what a worker costs it. No processes: the port only remembers.

python benches/engine_bench.py
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence

from procq.endings import ExitStatus
from procq.engine.loop import Engine
from procq.engine.port import Command, SpawnWorker
from procq.events import Attached, Executing, Exited, Gone, KeeperEvent, Snapshot
from procq.model import Manifest, Queue, StartRate, WorkerId
from procq.state import Running
from procq.testing import VirtualClock

ROUNDS = 200


class Recorder:
    """A port that only remembers."""

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.spawned_at = 0.0

    def send(self, commands: Sequence[Command]) -> None:
        """Remembers them, and when the last spawn came."""
        if any(isinstance(c, SpawnWorker) for c in commands):
            self.spawned_at = time.perf_counter()
        self.sent.extend(commands)


def build(queues: int, workers: int) -> tuple[Engine, Recorder, VirtualClock]:
    """An engine that has yet to plan `queues` queues of `workers` workers."""
    port = Recorder()
    engine = Engine(port, clock := VirtualClock())
    engine.handle([Attached(1, 1, 0, False), Snapshot((), clock.now, 0)])
    named = {f"q{n}": Queue(f"q{n}", "work", ("work",), workers=workers) for n in range(queues)}
    engine.adopt(Manifest("bench", named, starts=StartRate(queues * workers)), "bench")
    return engine, port, clock


def execute(engine: Engine, port: Recorder) -> None:
    """Reports everything that was spawned as executing."""
    spawns = [c for c in port.sent if isinstance(c, SpawnWorker)]
    engine.handle([Executing(c.worker, c.generation, 1, engine.now) for c in spawns])
    engine.step()
    port.sent.clear()


def timed(act: Callable[[], object]) -> float:
    """Milliseconds that `act` takes."""
    before = time.perf_counter()
    act()
    return (time.perf_counter() - before) * 1000


def from_nothing(queues: int, workers: int) -> None:
    """The first plan of everything."""
    times = [timed(build(queues, workers)[0].step) for _ in range(3)]
    print(f"from nothing   {queues:5} x {workers:5}  {min(times):8.1f} ms")


def crash(queues: int, workers: int) -> None:
    """One crash: events, plan, spawn."""
    engine, port, clock = build(queues, workers)
    engine.step()
    execute(engine, port)
    worker, times = WorkerId("q0", 1), []
    for _ in range(ROUNDS):
        state = engine.snapshot().worker(worker)
        assert isinstance(state, Running), state
        clock.advance(20)
        events: list[KeeperEvent] = [
            Exited(worker, state.generation, ExitStatus(1), clock.now),
            Gone(worker, state.generation, 0, clock.now),
        ]
        before = time.perf_counter()
        engine.handle(events)
        engine.step()
        times.append((port.spawned_at - before) * 1000)
        execute(engine, port)
    print(f"one crash      {queues:5} x {workers:5}  {statistics.median(times):8.3f} ms median, {max(times):.3f} most")


def memory(queues: int, workers: int) -> None:
    """What a worker that runs costs."""
    gc.collect()
    tracemalloc.start()
    engine, port, _ = build(queues, workers)
    base = tracemalloc.get_traced_memory()[0]
    engine.step()
    execute(engine, port)
    gc.collect()
    each = (tracemalloc.get_traced_memory()[0] - base) / (queues * workers)
    tracemalloc.stop()
    print(f"memory         {queues:5} x {workers:5}  {each:8.0f} bytes a worker")


if __name__ == "__main__":
    for shape in ((1, 1000), (1000, 10), (1, 10_000)):
        from_nothing(*shape)
        crash(*shape)
        memory(*shape)
