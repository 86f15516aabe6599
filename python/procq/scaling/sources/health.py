"""Whether a source can be believed, and when it is asked next. Pure."""

from __future__ import annotations

import math
from dataclasses import astuple
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from procq.scaling.reading import Reading
from procq.scaling.sources.port import Kind, SourceError

SHORTEST: Final = 1.0
LONGEST: Final = 5.0
"""Seconds between two questions: while there is work, and when there has been none for a while."""
CONFIRM: Final = 0.25
"""Seconds until an unlikely reading is asked for again."""
_SLOWER: Final = 1.5
_STALE_AFTER: Final = 3
_OPEN_AFTER: Final = 5
_FIRST_PROBE: Final = 5.0
_LAST_PROBE: Final = 60.0
_JUMP_FACTOR: Final = 100.0
_JUMP: Final = 1_000.0


class State(StrEnum):
    """How far a source can be believed."""

    FRESH = "fresh"
    STALE = "stale"
    """Some polls in a row have failed: the last reading holds, and lowers no count."""
    OPEN = "open"
    """More of them have: it is asked more and more rarely."""


class Watch:
    """One queue's source. `key` spreads polls over time; queues of one server share it, and so are read together.

    All times are seconds on any one clock that does not go back.
    """

    def __init__(self, key: str, now: float) -> None:
        self._key = key
        self._phase = _share(key)
        self._began = now
        self._last: float | None = None
        self._interval = SHORTEST
        self._doubtful = 0
        self._read_at: float | None = None
        self.failures = 0
        """Polls in a row that have failed."""
        self.reading: Reading | None = None
        """The last one that counts."""
        self.error: SourceError | None = None
        """Why the last poll has failed; None when it has not."""

    @property
    def doubts(self) -> bool:
        """Whether the last reading was unlikely, and is to be asked for again."""
        return self._doubtful != 0

    @property
    def state(self) -> State:
        """How far it can be believed."""
        if self.failures >= _OPEN_AFTER:
            return State.OPEN
        return State.STALE if self.failures >= _STALE_AFTER else State.FRESH

    def age(self, now: float) -> float | None:
        """Seconds since the last reading that counts; None when there was none."""
        return None if self._read_at is None else max(0.0, now - self._read_at)

    def succeeded(self, reading: Reading, now: float) -> Reading | None:
        """The server has answered. Returns the reading where it counts.

        One that makes no sense is a failure; one that is unlikely counts when another one has said the same.
        """
        nonsense = _nonsense(reading)
        if nonsense is not None:
            self.failed(SourceError(Kind.GARBAGE, nonsense), now)
            return None
        self._last = now
        self.failures, self.error = 0, None
        jump = 0 if self.reading is None else _jump(self.reading, reading)
        if jump not in (0, self._doubtful):
            self._doubtful = jump
            return None
        self._doubtful = 0
        busy = reading.waiting > 0 or bool(reading.running) or bool(reading.delayed)
        same = self.reading is not None and self.reading.waiting == reading.waiting
        self._interval = min(LONGEST, self._interval * _SLOWER) if same and not busy else SHORTEST
        self.reading, self._read_at = reading, now
        return reading

    def failed(self, error: SourceError, now: float) -> None:
        """The poll has failed."""
        self._last = now
        self._doubtful = 0
        self._interval = SHORTEST
        self.failures += 1
        self.error = error

    def next_poll(self, now: float) -> float:
        """When to ask next, which may be now; on the clock of `now`."""
        if self._last is None:
            return max(now, self._began)
        if self._doubtful:
            return max(now, self._last + CONFIRM)
        if self.state is State.OPEN:
            return max(now, self._last + self._probe())
        # All queues of a server are asked at the same moments, a second apart.
        earliest = self._last + self._interval - SHORTEST / 2
        return max(now, math.ceil((earliest - self._phase) / SHORTEST) * SHORTEST + self._phase)

    def _probe(self) -> float:
        """Seconds until the next probe: twice as many each time, a fifth more or less."""
        doubled = _FIRST_PROBE * 2.0 ** min(self.failures - _OPEN_AFTER, 10)
        return min(_LAST_PROBE, doubled) * (0.8 + 0.4 * _share(f"{self._key} {self.failures}"))


def _nonsense(reading: Reading) -> str | None:
    """What is wrong with the numbers; None when nothing is."""
    numbers = dict(zip(("waiting", "running", "delayed", "oldest", "soon"), astuple(reading), strict=True))
    for name, number in numbers.items():
        if number is not None and (not math.isfinite(number) or number < 0):
            return f"the source says {name} = {number:g}, which cannot be"
    return None


def _jump(last: Reading, reading: Reading) -> int:
    """1 where it has grown past belief, -1 where a long queue is empty all at once, 0 otherwise."""
    if reading.waiting > last.waiting * _JUMP_FACTOR and reading.waiting > last.waiting + _JUMP:
        return 1
    return -1 if reading.waiting == 0 and last.waiting > _JUMP else 0


def _share(key: str) -> float:
    """From 0 up to 1, the same each time."""
    return int.from_bytes(blake2b(key.encode(errors="replace"), digest_size=4).digest()) / (1 << 32)
