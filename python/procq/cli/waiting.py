"""Waiting until workers are what was asked for, and saying what became of those that are not."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from procq import wire
from procq.cli.terminal import Terminal
from procq.client import Client, Refused
from procq.errors import ExitCode
from procq.text import count, duration, listing

_EVERY = 0.05
_MOST_TOLD = 20
_HALTED = "roll-out halted"


@dataclass(frozen=True, slots=True)
class Goal:
    """What every one of some workers should become.

    `until` are the states in which it is over, `done` is what that is called. `wanted`: whether they are to run; who
    asked for the opposite meanwhile has the last word. `newer_than` are generations that must have gone. `settled`: nor
    may their queues be replacing others.
    """

    until: frozenset[str]
    done: str
    wanted: bool
    newer_than: Mapping[str, int | None] = field(default_factory=dict)
    settled: bool = False

    def reached(self, worker: wire.WorkerView) -> bool:
        """Whether this worker is what it should be."""
        old = self.newer_than.get(worker.id)
        return worker.state in self.until and (old is None or worker.generation != old)

    def missed(self, worker: wire.WorkerView) -> bool:
        """Whether it failed instead. An end that nobody has looked at yet may still be answered."""
        waits = worker.state == "waiting" and worker.retry_in is not None
        return (waits or worker.state in {"failed", "unkillable"}) and worker.state not in self.until

    def undone(self, worker: wire.WorkerView) -> bool:
        """Whether somebody has asked for the opposite."""
        return worker.wanted is not None and worker.wanted is not self.wanted


RUNNING = Goal(frozenset({"running", "finished"}), "running", wanted=True)
STOPPED = Goal(frozenset({"stopped", "finished", "failed"}), "stopped", wanted=False)


def wait_for(
    client: Client,
    affected: wire.Affected,
    terminal: Terminal,
    goal: Goal,
    *,
    patience: float | None = None,
) -> int:
    """Waits until every affected worker is what `goal` says, for at most `patience` seconds, and tells the result.

    Returns 1, and says which, when some are not. One that was to run and has finished already is no failure.
    """
    total = len(affected.workers)
    if not total:
        terminal.line("nothing to do")
        return ExitCode.DONE
    started = time.monotonic()
    ids = set(affected.workers)
    while True:
        asked = time.monotonic()
        status = _look(client, affected.queues)
        workers = [worker for worker in status.workers if worker.id in ids]
        replacing = {q.name for q in status.queues if q.state == "replacing"} if goal.settled else set()
        through = {w.id for w in workers if goal.missed(w) or goal.undone(w)}
        through |= {w.id for w in workers if goal.reached(w) and w.queue not in replacing}
        pending = [w for w in workers if w.id not in through]
        # Who runs still waits for a turn that does not come; who is on the way already needs none.
        waiting = {w.queue for w in pending if w.state == "running"} if goal.wanted else set()
        halted = [queue for queue in status.queues if queue.name in waiting and is_halted(queue)]
        held = _held_for_good(status, goal)
        now = time.monotonic()
        late = patience is not None and now - started > patience
        if halted or late or all(worker.queue in held for worker in pending):
            break
        names = [f"{worker.id} ({worker.detail})" if worker.detail else worker.id for worker in pending]
        terminal.progress(f"{total - len(pending)}/{total} {goal.done}, waiting for {listing(names)}")
        # Of thousands of workers the answer is work: the control plane has better to do most of the time.
        time.sleep(max(_EVERY, 2 * (now - asked)))
    terminal.clear_progress()
    problems = {queue.name: queue.problem or "" for queue in status.queues}
    result = _Result(goal, total, workers, halted, pending, problems)
    return result.tell(terminal, time.monotonic() - started)


def is_halted(queue: wire.QueueView) -> bool:
    """Whether workers of this queue were being replaced, and that has come to a halt."""
    return (queue.problem or "").startswith(_HALTED)


def _held_for_good(status: wire.StatusView, goal: Goal) -> set[str]:
    """Queues that wait for one whose workers failed, or for one that waits for such a queue."""
    failed = {worker.queue for worker in status.workers if goal.wanted and goal.missed(worker)}
    held: set[str] = set()
    while more := {q.name for q in status.queues if not (failed | held).isdisjoint(q.waits_for)} - held:
        held |= more
    return held


def _look(client: Client, queues: Sequence[str]) -> wire.StatusView:
    try:
        return client.status(queues)
    except Refused:
        # One of the queues is not there any more.
        return client.status(["*"])


@dataclass(frozen=True, slots=True)
class _Result:
    goal: Goal
    total: int
    workers: Sequence[wire.WorkerView]
    halted: Sequence[wire.QueueView]
    pending: Sequence[wire.WorkerView]
    problems: Mapping[str, str]

    def _why(self, worker: wire.WorkerView) -> str:
        """How it ended; where its queue tells more of that, as after how many attempts it gave up, that."""
        problem, end = self.problems.get(worker.queue, ""), worker.last_exit or worker.state
        return problem if problem.startswith("gave up") and problem.endswith(end) else end

    def _why_not_yet(self, worker: wire.WorkerView) -> str:
        """What it waits for: itself, or its queue."""
        problem = self.problems.get(worker.queue, "")
        why = worker.detail or (problem if problem.startswith("waits for ") else "")
        return f"not {self.goal.done} yet{why and ': '}{why}"

    def tell(self, terminal: Terminal, seconds: float) -> int:
        failed = [worker for worker in self.workers if self.goal.missed(worker)]
        undone = [w for w in self.workers if self.goal.undone(w) and not self.goal.missed(w)]
        finished = [worker for worker in self.workers if worker.state == "finished"] if self.goal.wanted else []
        # What is gone altogether has been stopped; what was to run and is gone was taken away by somebody.
        gone = self.total - len(self.workers) if self.goal.wanted else 0
        done = self.total - len({w.id for w in (*failed, *undone, *finished, *self.pending)}) - gone
        if done or not (failed or undone or finished or self.pending or gone):
            terminal.line(f"{count(done, 'worker')} {self.goal.done} in {duration(seconds)}")
        for queue in self.halted:
            terminal.line(f"{terminal.style(queue.name, 'bold')}   {terminal.style(queue.problem or '', 'red')}")
        _tell(((w, w.state, self._why(w)) for w in failed), "red", terminal)
        _tell(((w, w.state, w.last_exit or w.state) for w in finished), "dim", terminal)
        opposite = "stopped" if self.goal.wanted else "started again"
        _tell(((w, w.state, f"was {opposite} meanwhile") for w in undone), "yellow", terminal)
        if gone:
            terminal.line(f"{count(gone, 'worker')} no longer wanted: the queue was scaled down or removed meanwhile")
        if not self.halted:
            _tell(((w, w.state, self._why_not_yet(w)) for w in self.pending), "yellow", terminal)
        return ExitCode.FAILED if failed or undone or gone or self.pending else ExitCode.DONE


def _tell(workers: Iterable[tuple[wire.WorkerView, str, str]], colour: str, terminal: Terminal) -> None:
    lines = [
        f"{terminal.style(worker.id, 'bold')}   {terminal.style(state, colour)}   {why}"
        for worker, state, why in workers
    ]
    if len(lines) > _MOST_TOLD:
        lines[_MOST_TOLD:] = [f"and {len(lines) - _MOST_TOLD:,} more: `procq status '*'` shows them"]
    terminal.lines(lines)
