"""Follows the load: asks sources, lets the policy decide for every queue that scales, and tells the engine.

Once a second, and only while some queue scales. Sources are read off the loop; who answers late is heard a second
later, and holds up nobody else. All queues are decided for at once, because they share the machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

from procq.engine.loop import Engine
from procq.engine.view import StateView
from procq.events import Event, IntentChanged, Snapshot
from procq.intent import DesiredQueue, Intent, desired_queue, wanted_workers
from procq.monitor.follow import Follow
from procq.monitor.host import Host
from procq.scaling.place import Place
from procq.scaling.reading import Reading
from procq.scaling.schedule import Calendar
from procq.scaling.sources.pool import Pool
from procq.scaling.sources.port import Kind, SourceError
from procq.scaling.standing import Standing
from procq.state import EMPTY_QUEUE, QueueState

TICK: Final = 1.0
"""Seconds from one decision to the next."""
_ANSWERS_WITHIN: Final = 0.25
"""Seconds for which a decision waits for answers of sources: most of them come within some milliseconds."""
_LEARN_EVERY: Final = 60.0
"""Seconds between saving what policies have learnt."""
_MOST_TOLD: Final = 50


class Sources(Protocol):
    """Who reads sources; see `procq.scaling.sources.pool.Pool`."""

    async def read(self, place: Place, within: float) -> Reading:
        """What a queue's source says. Raises SourceError."""

    def keep(self, servers: Iterable[str]) -> None:
        """Closes the connections of all other servers."""

    async def aclose(self) -> None:
        """Closes all connections."""


Decided = Callable[[str, int, int, Follow, float], None]
"""Is told of each decision: the queue, how many workers there were to be before and now, and what it rests on; when."""


class Scaler:
    """Decides for all queues that scale.

    `decided` is told of each decision, `tell` of what should not happen, once each. `wall` is the time of day, in
    seconds since the epoch.
    """

    def __init__(
        self,
        engine: Engine,
        host: Host,
        decided: Decided = lambda name, before, after, follow, now: None,
        tell: Callable[[str], None] = lambda text: None,
        *,
        sources: Sources | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._host = host
        self._decided = decided
        self._tell = tell
        self._told: set[str] = set()
        self._sources = sources
        self._wall = wall
        self._calendar = Calendar()
        self._follows: dict[str, Follow] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._changed, self._work = True, asyncio.Event()
        self._learn_at = 0.0

    def standings(self, now: float) -> dict[str, Standing]:
        """How the queues that scale stand."""
        return {name: follow.standing(now) for name, follow in self._follows.items()}

    def lead(self, name: str) -> float:
        """Seconds from now until a worker of the queue that is started could take a job. Raises KeyError."""
        return self._follows[name].policy.lead

    async def run(self) -> None:
        """Runs until it is cancelled."""
        unsubscribe = self._engine.subscribe(self._happened)
        try:
            while True:
                if self._changed:
                    self._take_up()
                if not self._follows:
                    await self._work.wait()
                    self._work.clear()
                    continue
                at = self._engine.now + TICK
                if self._engine.complete and not self._engine.shutting_down:
                    try:
                        await self.tick()
                    except Exception as error:
                        # Workers go on as they are; the control plane must not end because of it.
                        self._trouble("scaling", error)
                await self._sleep(min(at, self._next_question()))
        finally:
            unsubscribe()
            for task in self._answers:
                task.cancel()
            if self._sources is not None:
                await self._sources.aclose()

    async def tick(self) -> None:
        """Asks whom it is time to ask, and decides for all."""
        await self._ask()
        if self._engine.intent is not None:
            await self._host.look(self._engine.snapshot(), self._silent(), self._engine.now)
        if self._changed:
            self._take_up()
        view, now = self._engine.snapshot(), self._engine.now
        if view.intent is None or self._engine.shutting_down:
            return
        self._decide(view, view.intent, now)
        if now >= self._learn_at:
            self._learn_at = now + _LEARN_EVERY
            self._engine.learn({name: dict(follow.policy.save()) for name, follow in self._follows.items()})

    def _trouble(self, what: str, error: Exception) -> None:
        text = f"{what}: {type(error).__name__}: {error}; its number of workers stays as it is"
        if text not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(text)
            self._tell(text)

    async def _sleep(self, until: float) -> None:
        """Until the next tick, or until what is wanted has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - self._engine.now)):
                await self._work.wait()
        self._work.clear()

    def _happened(self, events: Sequence[Event]) -> None:
        if any(isinstance(event, IntentChanged | Snapshot) for event in events):
            self._changed = True
            self._work.set()

    def _take_up(self) -> None:
        """The queues that scale now, with what is known of those that did before."""
        self._changed = False
        intent = self._engine.intent
        queues = {} if intent is None else intent.manifest.queues
        scaling = {name: queue for name, queue in queues.items() if queue.scales}
        for name in self._follows.keys() - scaling.keys():
            del self._follows[name]
        for name, queue in scaling.items():
            known = self._follows.get(name)
            if known is None:
                self._follows[name] = Follow.begin(queue, self._engine.learnt.get(name), self._engine.now)
            elif known.queue is not queue:
                known.take_up(queue, self._engine.now)
        if self._sources is not None:
            self._sources.keep(follow.place.server for follow in self._follows.values() if follow.place is not None)

    # --- sources ------------------------------------------------------------------------------------------------

    async def _ask(self) -> None:
        now = self._engine.now
        asked = [asyncio.create_task(self._read(name, follow)) for name, follow in self._due(now)]
        if asked:
            self._answers.update(asked)
            await asyncio.wait(asked, timeout=_ANSWERS_WITHIN)
        for task in [task for task in self._answers if task.done()]:
            self._answers.discard(task)
            task.result()

    def _due(self, now: float) -> Iterator[tuple[str, Follow]]:
        for name, follow in self._follows.items():
            if follow.due_at(now) <= now:
                follow.ask(now)
                yield name, follow

    def _next_question(self) -> float:
        """When somebody is asked again before the next decision: what is hard to believe is asked for twice."""
        now = self._engine.now
        return max(now + _ANSWERS_WITHIN, min(follow.due_at(now) for follow in self._follows.values()))

    async def _read(self, name: str, follow: Follow) -> None:
        place = follow.place
        assert place is not None
        if self._sources is None:
            self._sources = Pool()
        said: Reading | SourceError
        try:
            said = await self._sources.read(place, follow.within)
        except SourceError as error:
            said = error
        except Exception as error:
            # Whatever it is: the queue is asked again, as after any failure.
            said = SourceError(Kind.OTHER, f"the source has failed: {type(error).__name__}: {error}")
        if follow.place is place:
            follow.heard(said, self._observed(name), self._engine.now)
        else:
            # The manifest names another source by now.
            follow.asked = False

    def _observed(self, name: str) -> QueueState:
        return self._engine.snapshot().observed.queues.get(name, EMPTY_QUEUE)

    # --- decisions ----------------------------------------------------------------------------------------------

    def _decide(self, view: StateView, intent: Intent, now: float) -> None:
        decided: list[str] = []
        targets: dict[str, int] = {}
        wall = self._wall()
        for name, follow in self._follows.items():
            desired = desired_queue(intent, name)
            assert desired is not None
            try:
                bounds = self._calendar.bounds(follow.queue.schedule, wall)
                observed = view.observed.queues.get(name, EMPTY_QUEUE)
                follow.decide(desired, observed, now, bounds, self._host.quiet(name))
            except Exception as error:
                self._trouble(name, error)
                continue
            by_hand = _by_hand(desired)
            if by_hand:
                follow.set_aside(by_hand, desired.workers)
                targets[name] = _reserved(desired, follow, intent)
            else:
                decided.append(name)
        self._put_in_force(view, intent, decided, targets, now)

    def _silent(self) -> list[str]:
        """Queues of whose workers nobody says whether they are busy."""
        return [
            name
            for name, follow in self._follows.items()
            if follow.signals is not None
            and not follow.signals.speaks
            and (follow.reading is None or follow.reading.running is None)
        ]

    def _put_in_force(
        self, view: StateView, intent: Intent, decided: Sequence[str], targets: dict[str, int], now: float
    ) -> None:
        """What was decided, as far as the machine bears it; and `targets` of queues of which a person has said more."""
        grants = self._host.grant(view, intent, {name: self._follows[name] for name in decided}, now)
        before = {name: _wanted(intent, name) for name in (*decided, *targets)}
        reasons = {}
        for name in decided:
            follow, grant = self._follows[name], grants[name]
            follow.granted(grant.workers, grant.short)
            targets[name] = follow.slots(grant.workers)
            reasons[name] = _reason(follow)
        self._engine.rescale(targets, reasons)
        after = self._engine.intent or intent
        for name, workers in before.items():
            self._decided(name, workers, _wanted(after, name), self._follows[name], now)


def _by_hand(desired: DesiredQueue) -> str:
    """What a person has said of a queue that decides instead of the policy; "" where nobody has."""
    name, adjustment = desired.queue.name, desired.adjustment
    if adjustment.stopped:
        return f"stopped by hand: `procq start {name}` ends that"
    if adjustment.workers is not None:
        return f"set to {adjustment.workers} by hand: `procq scale {name}=auto` ends that"
    return f"paused by hand: `procq resume {name}` ends that" if adjustment.paused else ""


def _reserved(desired: DesiredQueue, follow: Follow, intent: Intent) -> int:
    """What is kept for a queue of which a person has said more: of a stopped one nothing beyond its least."""
    assert follow.decision is not None and follow.signals is not None
    if desired.adjustment.stopped:
        return follow.signals.least
    if desired.adjustment.paused:
        return intent.targets.get(desired.queue.name, desired.workers)
    return follow.decision.target


def _reason(follow: Follow) -> str:
    assert follow.decision is not None
    return "; ".join(filter(None, (follow.decision.reason, *follow.decision.limits, follow.short)))


def _wanted(intent: Intent, name: str) -> int:
    queue = intent.manifest.queues.get(name)
    return 0 if queue is None else wanted_workers(intent, queue)
