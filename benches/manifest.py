"""A manifest of a thousand queues: loaded, loaded again, edited while it runs, and how long that holds the loop."""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benches.kit import Row, Spread, ms
from benches.programs import Ear, compile_worker
from benches.stack import Stack

_QUEUES = 1000
_LOADS = 5
_EDITS = 20
_COLD, _WARM, _SAVE, _SMALL, _LAG = 3.0, 0.3, 0.2, 0.15, 0.02
"""Aims in seconds."""
_PROBE = 0.002
"""Seconds between two questions to the control loop."""
_LOAD = """
import json, os, sys, time
from pathlib import Path
import procq.manifest.reading
from procq.manifest import load_text
path = Path(sys.argv[1])
seconds = []
for text in (path.read_bytes(), path.with_name("edited.yaml").read_bytes()):
    began = time.perf_counter()
    load_text(text, path, os.environ)
    seconds.append(time.perf_counter() - began)
print(json.dumps(seconds))
"""


def run(scratch: Path) -> list[Row]:
    """Loads in processes of their own, then a whole procq."""
    program = compile_worker(scratch)
    rows = _loads(scratch)
    with Ear(scratch / "ear") as ear:
        command = f"{program} idle {ear.path}"
        rows.append(_small(scratch, command, ear))
        rows += _large(scratch, command, ear)
    return rows


def manifest(queues: int, command: str, *, number: int = 0) -> str:
    """`queues` queues of eleven lines. The first has a worker, whose environment holds `number`; no other has one."""
    lines = [
        "name: large",
        "env:",
        "  BROKER: redis://127.0.0.1/0",
        "defaults:",
        "  stop:",
        "    grace: 30s",
        "queues:",
    ]
    for n in range(queues):
        lines += [
            f"  queue-{n}:",
            f"    command: {command}",
            f"    workers: {0 if n else 1}   # of many",
            "    directory: /tmp",
            "    env:",
            f'      NUMBER: "{n or number}"',
            f"      QUEUE: 'queue-{n}'",
            "    stop:",
            "      signal: TERM",
            "    restart:",
            "      policy: always",
        ]
    return "\n".join(lines) + "\n"


def _loads(scratch: Path) -> list[Row]:
    path, edited = scratch / "procq.yaml", scratch / "edited.yaml"
    path.write_text(manifest(_QUEUES, "sleep 1000"))
    edited.write_text(manifest(_QUEUES, "sleep 1000", number=1))
    cold, warm, again = [], [], []
    for n in range(_LOADS):
        environ = {**os.environ, "XDG_CACHE_HOME": str(scratch / f"cache-{n}")}
        cold.append(_load(path, environ)[0])
        first, second = _load(path, environ)
        warm.append(first)
        again.append(second)
    return [
        _row(f"load {_QUEUES} queues, nothing remembered", Spread(cold), _COLD),
        _row("the same, agreed to by a process before", Spread(warm), _WARM),
        Row("load it again with one queue edited", str(Spread(again))),
    ]


def _load(path: Path, environ: dict[str, str]) -> list[float]:
    script = [sys.executable, "-c", _LOAD, str(path)]
    done = subprocess.run(script, env=environ, stdout=subprocess.PIPE, check=True)
    return [float(seconds) for seconds in json.loads(done.stdout)]


def _small(scratch: Path, command: str, ear: Ear) -> Row:
    with Stack(scratch, manifest(2, command)) as stack:
        spread = _edits(stack, lambda number: manifest(2, command, number=number), ear)
    return _row("save → new worker executes, 2 queues", spread, _SMALL)


def _large(scratch: Path, command: str, ear: Ear) -> list[Row]:
    with Stack(scratch, manifest(_QUEUES, command)) as stack:
        with Probe(stack) as idle:
            time.sleep(2)
        with Probe(stack) as edits:
            spread = _edits(stack, lambda number: manifest(_QUEUES, command, number=number), ear)
        # Not a block of it has been seen before.
        with Probe(stack) as cold:
            began = time.monotonic()
            stack.save(manifest(_QUEUES, command, number=-1).replace("# of many", "# of very many"))
            took = ear.hear("s", 1)[0].at - began
    usual = statistics.median(idle.samples)
    return [
        _row(f"save → new worker executes, {_QUEUES} queues", spread, _SAVE),
        Row(f"save → new worker executes, {_QUEUES} queues all of them new", ms(took)),
        _lag("control loop, nothing happens", idle.samples, usual),
        _lag("control loop, meanwhile one edited queue after the other", edits.samples, usual),
        _lag("control loop, meanwhile all queues are new", cold.samples, usual),
    ]


def _edits(stack: Stack, text: Callable[[int], str], ear: Ear) -> Spread:
    """From the rename over the file to the first instruction of the worker that replaces the one before."""
    ear.hear("s", 1)
    stack.ready()
    samples = []
    for number in range(1, _EDITS + 1):
        time.sleep(0.3)
        new = text(number)
        began = time.monotonic()
        stack.save(new)
        samples.append(ear.hear("s", 1)[0].at - began)
    return Spread(samples)


class Probe:
    """Asks the control loop again and again, over one connection: it answers late when something holds it."""

    def __init__(self, stack: Stack) -> None:
        stack.ready()
        self.samples: list[float] = []
        self._path = stack.project.api_socket
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        while not self._over.wait(_PROBE):
            began = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            self.samples.append(time.monotonic() - began)
        connection.close()


def _lag(what: str, samples: list[float], usual: float) -> Row:
    """By how much answers came later than usual."""
    late = Spread([max(0.0, sample - usual) for sample in samples])
    shown = f"{ms(late.p99)} p99, {ms(late.most)} most (n={len(samples)})"
    return Row(what, shown, "", "", f"most {ms(_LAG)}", late.most <= _LAG)


def _row(what: str, spread: Spread, aim: float) -> Row:
    return Row(what, str(spread), "", "", f"median {ms(aim)}", spread.median <= aim)
