"""Waiting until workers take no more jobs, or some again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from procq import wire
from procq.cli.terminal import Terminal
from procq.client import Client
from procq.errors import ExitCode
from procq.text import count, listing

_EVERY: Final = 0.1
_ANSWERS_WITHIN: Final = 5.0
"""Seconds in which a worker that is at no job says that it has heard."""


def wait_for_pause(client: Client, affected: wire.Affected, terminal: Terminal, *, paused: bool) -> int:
    """Waits until all that can be told are `paused` and idle, or not paused any more. Returns the exit code."""
    began, idle_since = time.monotonic(), dict.fromkeys(affected.workers, time.monotonic())
    while True:
        workers = [w for w in client.status(affected.queues).workers if w.id in set(affected.workers)]
        speak = [worker for worker in workers if worker.paused is not None]
        pending = [worker for worker in speak if not _is_done(worker, paused)]
        now = time.monotonic()
        idle_since |= {worker.id: now for worker in pending if worker.busy}
        deaf = [worker for worker in pending if now - idle_since[worker.id] > _ANSWERS_WITHIN]
        if len(deaf) == len(pending) and (speak or now - began > _ANSWERS_WITHIN):
            break
        at_work = [f"{worker.id} ({worker.job or 'a job'})" for worker in pending if worker.busy]
        terminal.progress(f"{len(speak) - len(pending)}/{len(speak)} {_word(paused)}, waiting for {listing(at_work)}")
        time.sleep(_EVERY)
    terminal.clear_progress()
    return _tell(terminal, workers, deaf, paused)


def _is_done(worker: wire.WorkerView, paused: bool) -> bool:
    return worker.paused is paused and not (paused and worker.busy)


def _word(paused: bool) -> str:
    return "paused" if paused else "resumed"


def _tell(terminal: Terminal, workers: Sequence[wire.WorkerView], deaf: Sequence[wire.WorkerView], paused: bool) -> int:
    silent = [worker.id for worker in workers if worker.paused is None and worker.state == "running"]
    done = sum(worker.paused is not None for worker in workers) - len(deaf)
    terminal.line(f"{count(done, 'worker')} {_word(paused)}")
    if silent:
        they = "does not say what it does" if len(silent) == 1 else "do not say what they do"
        terminal.line(f"{listing(silent)} {they}, and cannot be told: docs/workers.md says how a worker learns to")
    if deaf:
        terminal.line(f"{listing([worker.id for worker in deaf])} did not answer")
    return ExitCode.FAILED if silent or deaf else ExitCode.DONE
