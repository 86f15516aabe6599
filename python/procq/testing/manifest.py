"""A manifest under test: what procq would do with it, without processes and without waiting."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Self

from procq import intent, targets
from procq.api.differences import plan_view
from procq.events import Event
from procq.history import History
from procq.intent import Intent
from procq.lives import Lives
from procq.manifest import load, load_text
from procq.model import Manifest, WorkerId
from procq.state import Alive
from procq.testing.clock import VirtualClock
from procq.testing.rig import Rig
from procq.testing.script import Script, runs
from procq.views import About, queue_names, queue_view, worker_view
from procq.wire import EventView, PlanView, QueueView, WorkerView

_DEFAULT = runs()


class _Part:
    """What the processes of some workers do, one after another in each slot; the last one is played again and again."""

    def __init__(self, lives: Sequence[Script]) -> None:
        self._lives = lives
        self._played: dict[WorkerId, int] = {}

    @property
    def played(self) -> bool:
        return bool(self._played)

    def next(self, worker: WorkerId) -> Script:
        number = self._played.get(worker, 0)
        self._played[worker] = number + 1
        return self._lives[min(number, len(self._lives) - 1)]


class ManifestTest:
    """Runs a manifest on scripted workers and a clock that only `advance` moves.

    `manifest` is a file, or a `procq.model.Manifest`; `env` is what `${NAME}` in it is taken from, and nothing else.
    Workers are started with the first look or the first `advance`: scripts that are written down before count from the
    beginning. Used with `with`, it fails at the end when a script was never played. Raises ManifestError for a
    manifest that does not load.
    """

    def __init__(self, manifest: str | os.PathLike[str] | Manifest, *, env: Mapping[str, str] | None = None) -> None:
        self._env = dict(env or {})
        if isinstance(manifest, Manifest):
            self._path = Path(manifest.directory, "procq.yaml")
            self._first = manifest
        else:
            self._path = Path(manifest)
            self._first = load(self._path, self._env)
        self._parts: dict[str, _Part] = {}
        self._begun: Rig | None = None
        self._began_at = VirtualClock().now
        self._lives = Lives()
        self._history = History(lambda: self.now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            return
        idle = [target for target, part in self._parts.items() if not part.played]
        if idle:
            names = ", ".join(queue_names(self.rig.engine.snapshot())) or "none"
            raise AssertionError(f"no worker played the script of {', '.join(idle)}; queues are: {names}")

    # --- what workers do ----------------------------------------------------------------------------------------

    def script(self, target: str, *lives: Script) -> None:
        """Says what processes of `target` do that start from now on; without a script they run until asked to leave.

        `target` is a queue, a worker (`emails.2`), or a pattern; what names a worker more exactly goes first.
        Of several `lives`, each slot plays one after another, the last one again and again. Raises ValueError for none.
        """
        if not lives:
            raise ValueError(f"{target} needs a script, as in script({target!r}, exits(1, after=5))")
        self._parts.pop(target, None)
        self._parts[target] = _Part(lives)

    def kill(self, worker: str) -> None:
        """Somebody else kills the process of a worker. Raises ValueError where none lives."""
        found = WorkerId.parse(worker)
        if not isinstance(self.rig.keeper.state(found), Alive):
            raise ValueError(f"there is no process of {worker} to kill: it is {self.worker(worker).state}")
        self.rig.keeper.kill(found)
        self.rig.settle()

    # --- time ---------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the beginning of the test."""
        # The beginning itself is told of while the rig is being made.
        return 0.0 if self._begun is None else self._begun.clock.now - self._began_at

    def advance(self, seconds: float) -> None:
        """Lets time pass, with everything that happens in it. Raises ValueError for a negative number."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds} s")
        self.rig.advance(seconds)

    def until(self, condition: Callable[[], bool], *, within: float = 3600.0) -> float:
        """Lets time pass until `condition` holds, and returns the seconds that took.

        Raises AssertionError, with the state of all queues, when it does not hold `within` so many seconds.
        """
        rig = self.rig
        began, end = rig.clock.now, rig.clock.now + within
        while not condition():
            if not rig.advance_to_next(end) and not condition():
                raise AssertionError(f"not within {within:g} s; then there was\n{self}")
        return rig.clock.now - began

    # --- what people do -----------------------------------------------------------------------------------------

    def save(self, manifest: str | Manifest) -> None:
        """Another text of the file, or another manifest, comes into force.

        Raises ManifestError for a text that does not load; then nothing has changed, as in life.
        """
        self.rig.adopt(self._loaded(manifest))

    def plan(self, manifest: str | Manifest) -> PlanView:
        """What saving that would do, as `procq plan` says it. Raises ManifestError."""
        rig = self.rig
        return plan_view(rig.engine.preview(self._loaded(manifest)), str(self._path), rig.engine.intent)

    def scale(self, queue: str, workers: int | None) -> None:
        """`procq scale`: overrides the number of workers, or gives it back to the file with None.

        Raises NoSuchTarget, and ValueError for no such number.
        """
        how = intent.Auto() if workers is None else intent.ScaleTo(workers)
        self._resolved([queue])
        self._change(lambda wanted: intent.scale(wanted, queue, how))

    def stop(self, *names: str) -> None:
        """`procq stop`: queues, workers, or patterns; none is all. Raises NoSuchTarget."""
        found = self._resolved(names)
        self._change(lambda wanted: intent.stop(wanted, found))

    def start(self, *names: str) -> None:
        """`procq start`. Raises NoSuchTarget."""
        found, engine = self._resolved(names), self.rig.engine
        self._change(lambda wanted: intent.start(wanted, found, engine.now))

    def restart(self, *names: str, rolling: bool = False) -> None:
        """`procq restart`, and with `rolling`, `procq restart --rolling`. Raises NoSuchTarget."""
        found, engine = self._resolved(names), self.rig.engine
        self._change(lambda wanted: intent.restart(wanted, found, engine.last_generation, rolling))

    # --- what there is ------------------------------------------------------------------------------------------

    def queue(self, name: str) -> QueueView:
        """One queue, as `procq status` shows it. Raises NoSuchTarget."""
        self._resolved([name], every=True)
        return queue_view(self.rig.engine.snapshot(), name, self.rig.engine.now, self._about)

    def workers(self, *names: str) -> list[WorkerView]:
        """The workers of queues, or of patterns; all without. Raises NoSuchTarget."""
        view, now = self.rig.engine.snapshot(), self.rig.engine.now
        found = []
        for worker in targets.workers(view, self._resolved(names, every=True)):
            desired = intent.desired_queue(view.intent, worker.queue) if view.intent else None
            held = worker.queue in view.held
            found.append(worker_view(worker, desired, view.queue(worker.queue), now, self._about, held))
        return found

    def worker(self, id: str) -> WorkerView:
        """One worker, as `emails.1`. Raises NoSuchTarget, and ValueError for what is no name of a worker."""
        (found,) = self.workers(str(WorkerId.parse(id)))
        return found

    def running(self, *names: str) -> int:
        """How many workers execute, of queues or of patterns; all without. Raises NoSuchTarget."""
        return sum(worker.state == "running" for worker in self.workers(*names))

    def events(self) -> list[EventView]:
        """What has happened, as `procq events` tells it; `at` are seconds since the beginning."""
        self.rig.settle()
        return self._history.since(0)

    @property
    def rig(self) -> Rig:
        """Engine, keeper and clock, for what this class does not know. Begins the test."""
        if self._begun is None:
            self._begun = Rig(self._first, self._cast, self._record)
        return self._begun

    def __str__(self) -> str:
        lines = [f"{self.now:.3f} s after the beginning"]
        for name in queue_names(self.rig.engine.snapshot()):
            queue = self.queue(name)
            told = f": {queue.problem}" if queue.problem else ""
            lines.append(f"{name}: {queue.state}, {queue.running} of {queue.desired} running{told}")
        return "\n".join(lines)

    # --- inside -------------------------------------------------------------------------------------------------

    @property
    def _about(self) -> About:
        return About({}, self._history.last_exits, self._history.restarts)

    def _loaded(self, manifest: str | Manifest) -> Manifest:
        return manifest if isinstance(manifest, Manifest) else load_text(manifest.encode(), self._path, self._env)

    def _resolved(self, names: Sequence[str], *, every: bool = False) -> tuple[targets.Target, ...]:
        return targets.resolve(self.rig.engine.snapshot(), names or ("*",), wanted_only=not every)

    def _change(self, change: Callable[[Intent], Intent]) -> None:
        self.rig.engine.change(change, "test")
        self.rig.settle()

    def _cast(self, worker: WorkerId, generation: int) -> Script:
        for target in (str(worker), worker.queue):
            if target in self._parts:
                return self._parts[target].next(worker)
        for pattern, part in reversed(self._parts.items()):
            if fnmatchcase(str(worker), pattern) or fnmatchcase(worker.queue, pattern):
                return part.next(worker)
        return _DEFAULT

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            self._history.record(event, self._lives.look(event))
