"""`logs: otlp: yes`: sends what the workers of some queues write, each line as a record of a log.

A thread of its own reads it from the keeper, as `procq logs -f` does, and hands it to lanes of its own: neither the
control loop nor a worker has a part in it. It reads only as fast as records leave; what is too much then is dropped and
counted by the keeper. Which queues are read follows the manifest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from procq.engine.loop import Engine
from procq.events import Event, HandOverAsked, IntentChanged
from procq.model import Manifest
from procq.telemetry.unsent import no_receiver, remedy, sending

if TYPE_CHECKING:
    from procq.telemetry.config import Way
    from procq.telemetry.lane import Lane
    from procq.telemetry.logs import Record
    from procq.telemetry.otlp import Answers, Words
    from procq.telemetry.reader import Reader
    from procq.telemetry.spans import Context

Build = Callable[[Callable[[], None]], "Sequence[Lane[Record]]"]
"""Makes the lanes; what it is given is to be called whenever one of them has room again. Takes its time."""
_OFF: Final = "output of workers is not sent until procq is restarted"


class Output:
    """Follows what the manifest says; `path` is the keeper's socket, `tell` hears of what is wrong, on the loop.

    Nothing is imported or read before a queue asks for it and there is somebody to send it to.
    """

    def __init__(self, engine: Engine, path: str, environ: Mapping[str, str], tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._path = path
        self._environ = environ
        self._tell = tell
        self._seen: Manifest | None = None
        self._queues: tuple[str, ...] = ()
        self._read: Set[str] = frozenset()
        """What is read: the queues that want it, and those that did and are being emptied."""
        self._reader: Reader | None = None
        self._begun = self._refused = self._told = self._failed = False
        self.build: Build | None = None
        """How lanes are made, once it is known; to be set before `begin`."""
        self.life: Callable[[int], Context] | None = None
        """The span of a worker's life by its generation, where such spans are sent."""
        self._stop_listening = engine.subscribe(self._happened)

    @property
    def lanes(self) -> Sequence[Lane[Record]]:
        """Through which it leaves."""
        return self._reader.lanes if self._reader is not None else ()

    @property
    def idle(self) -> bool:
        """Whether nothing more will be handed to the lanes, once `leave` was called."""
        return self._reader is None or self._reader.over

    def begin(self, told: bool) -> None:
        """From now on what is read is sent. Without `build` there is nobody to send it to, and will not be.

        `told`: why that is so, where it is, has been told.
        """
        self._begun = True
        self._told = told
        if self.build is None:
            self.refuse()
        else:
            self._send()

    def refuse(self) -> None:
        """There is nobody to send it to, and will not be."""
        self._refused = True
        if self._reader is not None:
            self._reader.end()
            self._reader = None
        self._complain()

    def leave(self) -> None:
        """Reads what is on its way and no more: what waits is for the next control plane."""
        if self._reader is not None:
            self._reader.leave()

    def _happened(self, events: Sequence[Event]) -> None:
        if self._failed:
            return
        try:
            self._look(events)
        except Exception as error:
            # A fault here must not end the control loop that it looks at.
            self._failed = True
            if self._reader is not None:
                self._reader.end()
            why = f"procq failed to follow the manifest ({type(error).__name__}: {error})"
            asyncio.get_running_loop().call_soon(self._tell, f"{_OFF}: {why}")

    def _look(self, events: Sequence[Event]) -> None:
        intent = self._engine.intent
        if intent is not None and intent.manifest is not self._seen:
            # What was written before anybody could read it belongs to those who read from the beginning.
            from_start = self._seen is None and self._engine.snapshot().epoch == 1
            self._seen = intent.manifest
            self._follow(intent.manifest, from_start)
        if self._refused and any(isinstance(event, IntentChanged) for event in events):
            self._complain()
        if any(isinstance(event, HandOverAsked) for event in events):
            self.leave()

    def _follow(self, manifest: Manifest, from_start: bool) -> None:
        self._queues = sending(manifest)
        if self._refused or (self._reader is None and not self._queues):
            return
        # Those that are gone from the manifest may have something to say until their workers are gone too.
        view = self._engine.snapshot()
        leaving = {name for name in self._read if name not in manifest.queues and view.queue(name).workers}
        self._read = leaving.union(self._queues)
        if self._reader is None:
            from procq.telemetry.reader import Reader

            self._reader = Reader(self._path, partial(_say, asyncio.get_running_loop(), self._tell))
        self._reader.follow(self._read, len(self._queues) == len(manifest.queues), from_start)
        self._send()

    def _send(self) -> None:
        if self._begun and self.build is not None and self._reader is not None and self._queues:
            self._reader.send_by(self.build, self.life)
            self.build = None

    def _complain(self) -> None:
        if self._queues and not self._told:
            self._told = True
            # A subscriber of the engine may not send by itself.
            what = f"{no_receiver(self._queues)}: {remedy(self._environ)}, and restart procq (docs/telemetry.md)"
            asyncio.get_running_loop().call_soon(self._tell, what)


def _say(loop: asyncio.AbstractEventLoop, tell: Callable[[str], None], why: str) -> None:
    """From the thread that reads."""
    with suppress(RuntimeError):  # of a loop that is closed
        loop.call_soon_threadsafe(tell, f"{_OFF}: {why}")


def output_lanes(
    ways: Sequence[Way], words: Words, answers: Answers, say: Callable[[str], None], taken: Callable[[], None]
) -> Sequence[Lane[Record]]:
    """Lanes that send by exporters like those of procq's log. `say` is called in any thread, `taken` as in `Lane`."""
    from procq.telemetry.config import Signal
    from procq.telemetry.exporters import exporter
    from procq.telemetry.lane import Lane
    from procq.telemetry.otlp import BUILD

    def changed(failing: bool) -> None:
        said = "is not delivered: " + answers.about() if failing else "is delivered again"
        say(f"telemetry: output of workers {said}" + ("; workers do not wait for it" if failing else ""))

    found: list[Lane[Record]] = []
    for way in ways:
        try:
            send = BUILD[Signal.LOGS](exporter(Signal.LOGS, way), words)
        except Exception:
            # What is wrong was told of procq's own log, which leaves by the same way.
            continue
        found.append(Lane(f"output-{way.means}", send, way.batching, changed, weigh=_weight, taken=taken))
    return found


def _weight(record: Record) -> int:
    return len(record.text)
