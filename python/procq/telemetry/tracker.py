"""From the engine's events to spans: what was saved, asked for or decided, and what became of it. Pure.

One trace for each change of what is wanted: a saved file (`procq.reload`, with `procq.load` and `procq.plan` in it), a
command or the start (`procq.change`, with `procq.plan`), a decision of scaling (`procq.scale`), the shutdown
(`procq.shutdown`). Below it is what follows: `procq.rollout` of a queue whose workers are replaced,
`procq.worker.start` from the request to readiness with `procq.worker.ready` in it, and `procq.worker.stop` from the
request to the last process of its tree. These may begin after, and last longer than, what they are below: a cause is
over once it is planned.

What no change has asked for has a trace of its own: `procq.worker.restart`, from an end or a fault to the readiness of
the next worker, linked to the start of the one before. And so has the life of a worker, `procq.worker`: see `life`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from procq.events import (
    Attached,
    BecameReady,
    Event,
    Forgotten,
    IntentChanged,
    Rescaled,
    RollOutHalted,
    ShuttingDown,
    Snapshot,
    WorkerEvent,
)
from procq.model import WorkerId
from procq.plan import Reason
from procq.telemetry.life import Ids, Lives, context_of
from procq.telemetry.slots import Slots
from procq.telemetry.spans import Context, Emit, Open, Spans

_REPLACED: Final = (Reason.CHANGED, Reason.ASKED)


@dataclass(frozen=True, slots=True)
class Reload:
    """A file was read from `began` to `loaded`, and is about to be put in force."""

    saved: str
    began: float
    loaded: float


@dataclass(slots=True)
class RollOut:
    """Workers of a queue are replaced, for a cause."""

    span: Open
    cause: Open | None


@dataclass(slots=True)
class Tracker:
    """Follows an engine. `clock` is the engine's; `replacing` says whether a queue still has workers to be replaced.

    `life` has the ids of lives, by the number of the keeper and the generation.
    """

    emit: Emit
    clock: Callable[[], float]
    bits: Callable[[int], int]
    replacing: Callable[[str], bool] = lambda queue: False
    life: Ids = partial(context_of, "")
    spans: Spans = field(init=False)
    _slots: Slots = field(init=False)
    _lives: Lives = field(init=False)
    _began: float = field(init=False)
    _reload: Reload | None = None
    _change: Open | None = None
    _scaled: dict[str, Open] = field(default_factory=dict)
    _rolling: dict[str, RollOut] = field(default_factory=dict)
    _to_end: list[Open] = field(default_factory=list)
    _taking_over: Open | None = None

    def __post_init__(self) -> None:
        self.spans = Spans(self.emit, self.bits)
        self._lives = Lives(self.spans, self.life)
        self._slots = Slots(self.spans, self._lives.context)
        self._began = self.clock()

    # --- what it is told ----------------------------------------------------------------------------------------

    def reloading(self, saved: str, began: float, loaded: float) -> None:
        """A file is about to be put in force: the next change of what is wanted is this one."""
        self._reload = Reload(saved, began, loaded)

    def refused(self, saved: str, began: float) -> None:
        """A file was read that is not valid."""
        now = self.clock()
        root = self.spans.begin("procq.reload", began, saved=saved)
        self.spans.end(self.spans.begin("procq.load", began, root), now, "not valid")
        self.spans.end(root, now, "not valid: the one before stays in force")

    def happened(self, events: Sequence[Event]) -> None:
        """Subscriber of an engine."""
        touched: set[str] = set()
        for event in events:
            if isinstance(event, WorkerEvent):
                touched.add(event.worker.queue)
                self._about_worker(event)
            else:
                self._about_all(event)
        now = self.clock()
        for span in self._to_end:
            self.spans.end(span, now)
        self._to_end.clear()
        self._reload = None
        for queue in touched & self._rolling.keys():
            if not self._slots.busy(queue) and not self.replacing(queue):
                self.spans.end(self._rolling.pop(queue).span, now)

    def life_of(self, generation: int) -> Context:
        """The span of the life of a worker."""
        return self._lives.context(generation)

    def context(self, worker: WorkerId | None, queue: str | None = None) -> Context | None:
        """The span that is about a worker, a queue or all of them now, or was last."""
        if worker is not None:
            return self._slots.context(worker)
        about = self._scaled.get(queue, self._change) if queue is not None else self._change
        return about.context if about is not None and about.kept else None

    # --- causes -------------------------------------------------------------------------------------------------

    def _about_all(self, event: Event) -> None:
        match event:
            case IntentChanged(at, reason):
                self._changed(at, reason)
            case Rescaled(queue, before, after, at, reason):
                span = self.spans.begin("procq.scale", at, queue=queue, before=before, after=after, reason=reason)
                self._scaled[queue] = span
                self._to_end.append(span)
            case RollOutHalted(queue=queue, why=why, at=at) if queue in self._rolling:
                self._rolling[queue].span.moment("halted", at, why=why)
                self._rolling[queue].span.error = "halted: new workers fail"
            case ShuttingDown(reason=reason, fast=fast):
                self._change = self.spans.begin("procq.shutdown", self.clock(), reason=reason, fast=fast)
                self._scaled.clear()
                self._slots.shutting_down = True
                self._to_end.append(self._change)
            case Attached(epoch=epoch, instance=instance):
                self._lives.instance = instance
                if epoch > 1:
                    self._taking_over = self.spans.begin("procq.takeover", self._began, epoch=epoch)
            case Snapshot():
                self._slots.found(event)
                self._lives.found(event)
                if self._taking_over is not None:
                    self._to_end.append(self._taking_over)
                    self._taking_over = None

    def _changed(self, at: float, reason: str) -> None:
        reload, self._reload = self._reload, None
        if reload is None:
            root = self.spans.begin("procq.change", at, reason=reason)
        else:
            root = self.spans.begin("procq.reload", reload.began, saved=reload.saved, reason=reason)
            self.spans.end(self.spans.begin("procq.load", reload.began, root), reload.loaded)
        self._change = self.spans.begin("procq.plan", at if reload is None else reload.loaded, root)
        self._scaled.clear()
        self._to_end += [self._change, root]

    # --- what follows from them ---------------------------------------------------------------------------------

    def _about_worker(self, event: WorkerEvent) -> None:
        queue = event.worker.queue
        reason = "" if isinstance(event, BecameReady) else getattr(event, "reason", "")
        if reason in _REPLACED and not isinstance(event, Forgotten):
            self._roll(queue, event.at)
        rolling = self._rolling.get(queue)
        cause = self._scaled.get(queue, self._change) if rolling is None else rolling.span
        started = self._slots.starting(event.worker)
        self._slots.happened(event, cause)
        self._lives.happened(event, started)

    def _roll(self, queue: str, at: float) -> None:
        cause = self._scaled.get(queue, self._change)
        rolling = self._rolling.get(queue)
        if rolling is not None:
            if rolling.cause is cause:
                return
            # Another change came before it was finished, and takes it over.
            self.spans.end(rolling.span, at)
        self._rolling[queue] = RollOut(self.spans.begin("procq.rollout", at, cause, queue=queue), cause)
