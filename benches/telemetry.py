"""What telemetry costs: a thousand sleeping workers without it, with it switched off, with all of it, side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benches.kit import Row, Spread, mib, ms, times
from benches.processes import cpu, resident, uss
from benches.programs import Ear, Stuck, compile_worker
from benches.stack import Pids, Stack, queue
from tests.servers.otlp import Receiver, attributes, receiving

_WORKERS = 1_000
_SECONDS = float(os.environ.get("PROCQ_BENCH_SECONDS", "130"))
"""Two exports at the default interval of a minute are in it."""
_CORE = 0.02
_MEMORY = 12 << 20
_SAME = 1 << 20
"""Bytes by which two runs of the same differ anyhow."""
_STARTS = 15


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one procq. `load` is a share of one core by control plane and keeper, sizes are those of the control plane."""

    load: float
    uss: int
    rss: int


def run(scratch: Path) -> list[Row]:
    """Costs beside those of the same run without telemetry, then what it does to starts where it is off."""
    program = compile_worker(scratch)
    with receiving() as receiver:
        asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        off, disabled, on = _beside(scratch, program, [{}, {**asked, "OTEL_SDK_DISABLED": "true"}, asked])
        _whole(receiver)
        never, switched = _starts(scratch, program, {**asked, "OTEL_SDK_DISABLED": "true"})
    load, own, all_ = on.load - off.load, on.uss - off.uss, on.rss - off.rss
    idle = abs(disabled.uss - off.uss)
    # The quickest of each: what else the machine does makes some of them slower, and none quicker.
    ratio = min(switched.samples) / min(never.samples)
    return [
        Row("processor, on", _share(on.load), _share(off.load), f"+{_share(load)}", "+2 % of a core", load < _CORE),
        Row("private memory, on", mib(on.uss), mib(off.uss), f"+{mib(own)}", "+12 MiB", own < _MEMORY),
        Row("resident memory, on", mib(on.rss), mib(off.rss), f"+{mib(all_)}", "+12 MiB", all_ < _MEMORY),
        Row("processor, switched off", _share(disabled.load), _share(off.load)),
        Row("private memory, switched off", mib(disabled.uss), mib(off.uss), aim="the same", met=idle < _SAME),
        Row("up → 1 worker, switched off", _least(switched), _least(never), times(ratio), "1.1×", ratio < 1.1),
    ]


def _beside(scratch: Path, program: Path, environs: list[Mapping[str, str]]) -> list[_Cost]:
    """One procq with each environment, all at once: what else the machine does is the same for all."""
    with ExitStack() as running:
        pids = []
        for number, environ in enumerate(environs):
            folder = scratch / f"{number}"
            folder.mkdir()
            ear = running.enter_context(Ear(folder / "ear"))
            command = [str(program), "idle", str(ear.path)]
            stack = running.enter_context(Stack(folder, queue(command, _WORKERS), environ=environ))
            ear.hear("s", _WORKERS)
            pids.append(stack.ready())
        began, before = time.monotonic(), [_used(each) for each in pids]
        time.sleep(_SECONDS)
        seconds, after = time.monotonic() - began, [_used(each) for each in pids]
        planes = [each.control_plane for each in pids]
        loads = [(late - early) / seconds for late, early in zip(after, before, strict=True)]
        return [_Cost(load, uss(pid), resident(pid)) for load, pid in zip(loads, planes, strict=True)]


def _used(pids: Pids) -> float:
    return cpu(pids.keeper) + cpu(pids.control_plane)


def _whole(receiver: Receiver) -> None:
    """Fails where less has arrived than telemetry has to tell."""
    readings, spans, records = len(receiver.every("procq.up")), len(receiver.spans()), len(receiver.records())
    if readings < _SECONDS // 60 or not spans or records < _WORKERS:
        raise Stuck(f"telemetry has sent {readings} readings, {spans} spans and {records} records")
    slots = {attributes(point)["slot"] for point in receiver.every("process.memory.usage")}
    if readings and len(slots) != _WORKERS:
        raise Stuck("the numbers are not those of all workers")


def _starts(scratch: Path, program: Path, environ: Mapping[str, str]) -> tuple[Spread, Spread]:
    """Seconds from `procq up` until a worker executes, in turns: without any variable, and with `environ`."""
    folder = scratch / "starts"
    folder.mkdir()
    found: tuple[list[float], list[float]] = [], []
    with Ear(folder / "ear") as ear:
        manifest = queue([str(program), "idle", str(ear.path)], 1)
        for _ in range(_STARTS):
            for samples, variables in zip(found, ({}, environ), strict=True):
                with Stack(folder, manifest, environ=variables) as stack:
                    samples.append(ear.hear("s", 1)[0].at - stack.began)
    return Spread(found[0]), Spread(found[1])


def _least(spread: Spread) -> str:
    return f"{ms(min(spread.samples))} at least, {spread}"


def _share(share: float) -> str:
    return f"{share * 100:.2f} %"
