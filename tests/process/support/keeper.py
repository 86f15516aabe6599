"""A keeper spoken to directly, by the link: we are its owner, in the place of a control plane."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from procq import core
from tests.process.support import processes
from tests.process.support.oracle import Oracle, keeper_excess, settled
from tests.process.support.waiting import PATIENCE, until

Event = dict[str, Any]
_WORDS = ("ready", "ready_line")
"""Fields of a spawn that are text; other strings are paths."""
WORKERS = Path(__file__).resolve().parents[1] / "workers"


def program(name: str, *arguments: object) -> list[str]:
    """The command of one of tests/process/workers: a bare interpreter, quick to start."""
    return [sys.executable, "-I", "-S", str(WORKERS / name), *map(str, arguments)]


class Keeper:
    """Starts one, remembers every event, and waits for those that a test expects."""

    def __init__(self, oracle: Oracle, folder: Path, **hosting: Any) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self._oracle = oracle
        self._last = 0
        self._spawned: dict[int, str] = {}
        environ = {**os.environ, processes.COOKIE: oracle.cookie}
        self.link, self.sentinel = core.start_owned(core.Hosting(environ=environ, **hosting))
        self._poll = select.poll()
        self._poll.register(self.link.fileno(), select.POLLIN)
        self.send({"t": "hello", "oldest": 1, "newest": 1})
        self.instance: int = self.wait(lambda e: e["t"] == "welcome", "the greeting")["instance"]
        oracle.knows(self.instance)
        self.wait(lambda e: e["t"] == "snapshot_end", "the first snapshot")
        (self.pid,) = processes.children(self.sentinel.pid)
        self.baseline = processes.descriptors(self.pid)

    # Commands

    def send(self, *messages: Event) -> None:
        self.link.send(messages)

    def spawn(
        self,
        argv: Sequence[str | bytes],
        worker: str = "w.1",
        *,
        grace: float = 5.0,
        signal: int = signal.SIGTERM,
        env: dict[str, str] | None = None,
        **more: Any,
    ) -> int:
        """Asks for a worker, and returns its generation at once."""
        self._last += 1
        variables = {
            "PATH": os.environ["PATH"],
            processes.COOKIE: self._oracle.cookie,
            "PROCQ_INSTANCE": f"{self.instance:x}",
            "PROCQ_GENERATION": str(self._last),
            **(env or {}),
        }
        message = {
            "t": "spawn",
            "worker": worker,
            "generation": self._last,
            "fingerprint": "f",
            "argv": [os.fsencode(word) for word in argv],
            "env": [os.fsencode(f"{name}={value}") for name, value in variables.items()],
            "stop": {"signal": int(signal), "grace": round(grace * 1000)},
        }
        if "log" in more and not isinstance(more["log"], dict):
            more["log"] = {"path": os.fsencode(more["log"])}
        for name, value in more.items():
            is_path = isinstance(value, str | Path) and name not in _WORDS
            message[name] = os.fsencode(value) if is_path else value
        self._spawned[self._last] = worker
        self.send(message)
        return self._last

    def run(self, argv: Sequence[str | bytes], worker: str = "w.1", **more: Any) -> tuple[int, int]:
        """Spawns, and waits for its exec. Returns generation and pid."""
        generation = self.spawn(argv, worker, **more)
        pid: int = self.of(generation, "executing")["pid"]
        return generation, pid

    def stop(self, generation: int, **how: int) -> None:
        self.send({"t": "stop", "worker": self._spawned[generation], "generation": generation, **how})

    def forget(self, generation: int) -> None:
        self.send({"t": "forget", "worker": self._spawned[generation], "generation": generation})

    # Events

    def pump(self, seconds: float = 0.0) -> None:
        """Takes the events that have arrived, or that arrive first within `seconds`."""
        if self._poll.poll(seconds * 1000):
            self.events += self.link.drain()

    def wait(self, wanted: Callable[[Event], bool], what: str, seconds: float = PATIENCE) -> Event:
        """The first event, of all since the start, that is `wanted`."""
        deadline, looked_at = time.monotonic() + seconds, 0
        while True:
            for event in self.events[looked_at:]:
                if wanted(event):
                    return event
            looked_at = len(self.events)
            left = deadline - time.monotonic()
            assert left > 0, f"waited {seconds:g} s in vain for {what}; the last events: {self.events[-10:]}"
            self.pump(left)

    def of(self, generation: int, kind: str, seconds: float = PATIENCE) -> Event:
        """The event of this kind and generation."""
        wanted = (kind, generation)
        return self.wait(lambda e: (e["t"], e.get("generation")) == wanted, f"{kind} of {generation}", seconds)

    def all_of(self, generations: Iterable[int], kind: str, seconds: float = PATIENCE) -> dict[int, Event]:
        """The events of this kind of each of the generations."""
        missing, deadline = set(generations), time.monotonic() + seconds
        found: dict[int, Event] = {}
        looked_at = 0
        while missing:
            for event in self.events[looked_at:]:
                if event["t"] == kind and event["generation"] in missing:
                    found[event["generation"]] = event
                    missing.discard(event["generation"])
            looked_at = len(self.events)
            left = deadline - time.monotonic()
            assert left > 0 or not missing, f"{len(missing)} × {kind} did not come within {seconds:g} s"
            if missing:
                self.pump(left)
        return found

    def kinds(self, generation: int) -> list[str]:
        """What happened to a generation so far, in order."""
        return [event["t"] for event in self.events if event.get("generation") == generation]

    def answers(self) -> list[Event]:
        """Greets it once more. Returns the records of the snapshot: a proof of life that reads everything before it."""
        before = len(self.events)
        self.send({"t": "hello", "oldest": 1, "newest": 1})
        deadline = time.monotonic() + PATIENCE
        while not any(event["t"] == "snapshot_end" for event in self.events[before:]):
            assert time.monotonic() < deadline, "the keeper does not answer"
            self.pump(1.0)
        return [item for event in self.events[before:] if event["t"] == "workers" for item in event["items"]]

    # The end

    def quiesce(self) -> None:
        """Stops and forgets every worker; then nothing of them may be left in the keeper."""
        alive = [record["generation"] for record in self.answers() if record["phase"] != "gone"]
        for generation in alive:
            self.stop(generation, grace=0)
        self.all_of(alive, "gone")
        for record in self.answers():
            self.forget(record["generation"])
        assert self.answers() == []
        assert settled(lambda: keeper_excess(self.pid, self.baseline, 0)) == []

    def close(self) -> int:
        """Hangs up, as an owner that leaves; the exit code of the sentinel once everything is gone."""
        self.link.close()
        return self.sentinel.wait(PATIENCE)

    def finish(self) -> None:
        """Teardown: quiet, then gone. A test may have ended the keeper, or hung up, already."""
        try:
            if processes.exists(self.pid) and self.sentinel.poll() is None and self._linked():
                self.quiesce()
        finally:
            self.link.close()
            try:
                self.sentinel.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.sentinel.kill()
                self.sentinel.wait()
                raise

    def _linked(self) -> bool:
        try:
            self.link.pending()
        except ValueError:
            return False
        return True


def read_when_written(path: Path, what: str | None = None) -> str:
    """The content of a file that a worker writes with one rename."""
    until(path.exists, what or f"{path.name} to be written")
    return path.read_text()
