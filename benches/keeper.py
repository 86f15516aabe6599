"""A keeper of our own, without a control plane: what one spawn costs when nobody has to think about it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benches.programs import PATIENCE, Stuck
from procq.core import PROTOCOL, Hosting, Link, start_owned

_TRUE = "/bin/true"


@dataclass
class Keeper:
    """Talks to it, one message at a time."""

    link: Link
    _generation: int = 0
    _news: list[dict[str, Any]] = field(default_factory=list)
    _environ: list[bytes] = field(default_factory=lambda: [b"%b=%b" % item for item in os.environb.items()])

    def __post_init__(self) -> None:
        self._poll = select.poll()
        self._poll.register(self.link.fileno(), select.POLLIN)

    def await_event(self, kind: str, generation: int | None = None) -> None:
        """Takes events until one of this kind (and generation) has come. Raises Stuck."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            while self._news:
                event = self._news.pop(0)
                if event["t"] in ("spawn_failed", "refused"):
                    raise Stuck(f"the keeper could not spawn: {event}")
                if event["t"] == kind and generation in (None, event.get("generation")):
                    return
            self._poll.poll(1000)
            self._news = self.link.drain()
        raise Stuck(f"the keeper has not said {kind!r} within {PATIENCE:g} s")

    def spawn(self) -> float:
        """Seconds from the request for one worker until we know that it executes. It ends at once by itself."""
        self._generation += 1
        worker, generation = f"spawn.{self._generation}", self._generation
        request = {
            "t": "spawn",
            "worker": worker,
            "generation": generation,
            "fingerprint": "",
            "argv": [_TRUE.encode()],
            "env": self._environ,
        }
        began = time.perf_counter()
        self.link.send([request])
        self.await_event("executing", generation)
        took = time.perf_counter() - began
        self.await_event("gone", generation)
        self.link.send([{"t": "forget", "worker": worker, "generation": generation}])
        return took


@contextlib.contextmanager
def owned() -> Iterator[Keeper]:
    """A keeper that ends with the block."""
    link, process = start_owned(Hosting())
    keeper = Keeper(link)
    try:
        link.send([{"t": "hello", "oldest": PROTOCOL, "newest": PROTOCOL}])
        keeper.await_event("snapshot_end")
        yield keeper
    finally:
        link.close()
        process.wait(PATIENCE)


def bare_spawn() -> float:
    """Seconds of one posix_spawn of the same program."""
    began = time.perf_counter()
    pid = os.posix_spawn(_TRUE, [_TRUE], os.environ)
    took = time.perf_counter() - began
    os.waitpid(pid, 0)
    return took


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many loops that want a core each, at the priority of everybody."""
    loops = [subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
