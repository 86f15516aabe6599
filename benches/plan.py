"""Planning: 10,000 workers over 1,000 queues from nothing, one of these edited, and one crash. No processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benches.engine_bench import Recorder, build, execute
from benches.kit import Row, Spread, ms
from procq.endings import ExitStatus
from procq.engine.loop import Engine
from procq.events import Exited, Gone, KeeperEvent
from procq.model import Manifest, Queue, WorkerId
from procq.plan import plan
from procq.state import Observed, Running

_QUEUES, _WORKERS = 1000, 10
_ROUNDS = 7
_CRASHES = 200
_FROM_NOTHING = 0.5
"""Aim, in seconds."""


def run(_: Path) -> list[Row]:
    """The engine's port only remembers."""
    pure, whole = [], []
    for _round in range(_ROUNDS):
        engine, port, clock = build(_QUEUES, _WORKERS)
        assert engine.intent is not None
        intent = engine.intent
        nothing = Observed(clock.now, {})
        pure.append(_timed(partial(plan, intent, nothing)))
        whole.append(_timed(engine.step))
    count = f"{_QUEUES * _WORKERS:,} workers over {_QUEUES:,} queues"
    execute(engine, port)
    changed = _changed(engine)
    engine.snapshot()
    previews = Spread([_timed(lambda: engine.preview(changed)) for _round in range(_ROUNDS)])
    return [
        _row(f"{count}: the plan", Spread(pure)),
        _row(f"{count}: planned, recorded and sent", Spread(whole)),
        Row("what a manifest that changes one of the queues would do", str(previews)),
        Row("one crash among them, until the spawn is sent", str(_crash(engine, port, clock.advance))),
    ]


def _changed(engine: Engine) -> Manifest:
    assert engine.intent is not None
    queues = dict(engine.intent.manifest.queues)
    queues["q7"] = Queue("q7", "work harder", ("work", "harder"), workers=_WORKERS)
    return Manifest("bench", queues, starts=engine.intent.manifest.starts)


def _crash(engine: Engine, port: Recorder, advance: Callable[[float], object]) -> Spread:
    worker, times = WorkerId("q0", 1), []
    for _ in range(_CRASHES):
        state = engine.snapshot().worker(worker)
        assert isinstance(state, Running)
        advance(20)
        events: list[KeeperEvent] = [
            Exited(worker, state.generation, ExitStatus(1), engine.now),
            Gone(worker, state.generation, 0, engine.now),
        ]
        began = time.perf_counter()
        engine.handle(events)
        engine.step()
        times.append(port.spawned_at - began)
        execute(engine, port)
    return Spread(times)


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _row(what: str, spread: Spread) -> Row:
    return Row(what, str(spread), "", "", f"median {ms(_FROM_NOTHING)}", spread.median <= _FROM_NOTHING)
