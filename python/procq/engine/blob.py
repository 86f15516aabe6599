"""What outlives the control plane, as bytes that the keeper holds: the intent, and the failures counted so far.

Compressed JSON, cut into parts of at most `PART` bytes, each with the CRC-32 of the whole. `Assembly` takes the parts
back and yields the whole only when every part of the same cut arrived once and the checksum is right.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from procq import intent_codec
from procq.intent import Intent
from procq.intent_codec import Unreadable
from procq.model import Queue
from procq.plain import Plain, mapping, text
from procq.plan.restarted import Restarted, Restarts, unwanted
from procq.state import Streak

PART: Final = 512 * 1024
LIMIT: Final = 4 * 1024 * 1024
"""Most bytes that the keeper holds for us."""
_FOR_COUNTERS: Final = 1024 * 1024
_MOST_TIMES: Final = 50_000
"""Times of failures that are saved: they take about half of what is left to counters."""
_REASONS: Final = frozenset(Restarted)
_UNPACKED_LIMIT: Final = 64 * 1024 * 1024
_UNPACKED_INTENT: Final = 32 * 1024 * 1024


class TooLarge(ValueError):
    """The intent does not fit into what the keeper holds for us."""


Streaks = Mapping[str, Mapping[int, Streak]]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a control plane hands to the next one.

    Intent, failures in a row by queue and slot, restarts by queue and reason, what scaling has learnt of each queue.
    """

    intent: Intent
    streaks: Streaks = field(default_factory=dict)
    restarts: Mapping[str, Restarts] = field(default_factory=dict)
    learnt: Mapping[str, Plain] = field(default_factory=dict)


class Packer:
    """Packs one memory after the other, on the control loop: a queue that is the same object as in the last one is not
    turned into text again.
    """

    def __init__(self) -> None:
        self._texts: dict[str, tuple[Queue, bytes]] = {}

    def pack(self, memory: Memory, check: bool = False) -> bytes:
        """The memory as bytes. With `check` raises TooLarge when its intent leaves too little to the counters."""
        squeeze = zlib.compressobj(1)
        intent = self._intent(memory.intent)
        first = squeeze.compress(b'{"intent":' + intent) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        if check:
            _check(len(intent), _UNPACKED_INTENT, "unpacked")
            _check(len(first), LIMIT - _FOR_COUNTERS, "saved")
        return first + squeeze.compress(_counters(memory)) + squeeze.flush()

    def _intent(self, intent: Intent) -> bytes:
        known, self._texts = self._texts, {}
        for name, queue in intent.manifest.queues.items():
            text = known.get(name)
            same = text is not None and text[0] is queue
            self._texts[name] = text if text and same else (queue, _json(intent_codec.encode_queue(queue)))
        head = _json(intent_codec.encode_head(intent))
        return head[:-1] + b',"queues":[' + b",".join(text for _, text in self._texts.values()) + b"]}"


def pack(memory: Memory) -> bytes:
    """The memory as bytes."""
    return Packer().pack(memory)


def _check(size: int, most: int, when: str) -> None:
    if size > most:
        raise TooLarge(f"the queues take {size} bytes when {when}, the keeper holds {most}: shorten commands and env")


def _counters(memory: Memory) -> bytes:
    """What follows the intent, up to the last brace."""
    streaks = {
        name: [[slot, s.crashes, s.misses, s.generation] for slot, s in slots.items()]
        for name, slots in memory.streaks.items()
        if slots
    }
    plain = {
        "streaks": streaks,
        "failures": _failures(memory),
        # One number, as versions before this one have and read it; and of what it consists.
        "restarts": {name: unwanted(counts) for name, counts in memory.restarts.items()},
        "reasons": {name: dict(counts) for name, counts in memory.restarts.items()},
        "learnt": dict(memory.learnt),
    }
    return b"," + _json(plain)[1:]


def _failures(memory: Memory) -> dict[str, list[list[object]]]:
    """Slot, whether the last one failed, and the times: as many as the queue needs to give up, the newest of all."""
    found: dict[str, list[list[object]]] = {}
    room = _MOST_TIMES
    for name, slots in memory.streaks.items():
        queue = memory.intent.manifest.queues.get(name)
        most = queue.restart.give_up.failures if queue is not None and queue.restart.give_up else 0
        for slot, streak in slots.items():
            times = streak.failures[-min(most, room) :] if min(most, room) else ()
            room -= len(times)
            if streak.failed or times:
                found.setdefault(name, []).append([slot, streak.failed, *times])
    return found


def _json(plain: object) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode("ascii")


def unpack(data: bytes) -> Memory:
    """The inverse of `pack`. Raises Unreadable."""
    try:
        plain = json.loads(_inflate(data))
        streaks = {
            str(name): {int(slot): Streak(int(c), int(m), int(g)) for slot, c, m, g in items}
            for name, items in plain["streaks"].items()
        }
        for name, found in plain.get("failures", {}).items():
            for slot, failed, *times in found:
                known = streaks[name][int(slot)]
                streaks[name][slot] = replace(known, failed=bool(failed), failures=tuple(map(float, times)))
        reasons = plain.get("reasons", {})
        restarts = {str(name): _restarts(int(n), reasons.get(name, {})) for name, n in plain["restarts"].items()}
        learnt = {text(name): mapping(each) for name, each in plain.get("learnt", {}).items()}
        return Memory(intent_codec.decode(plain["intent"]), streaks, restarts, learnt)
    except Unreadable:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise Unreadable(f"the saved intent is damaged: {type(error).__name__}: {error}") from error


def _restarts(number: int, reasons: Mapping[str, int]) -> dict[Restarted, int]:
    """Those of one queue. Reasons of a later version, and what an earlier one has counted, are not known."""
    known = {Restarted(reason): int(n) for reason, n in reasons.items() if reason in _REASONS}
    unknown = number - unwanted(known)
    if unknown > 0:
        known[Restarted.UNKNOWN] = known.get(Restarted.UNKNOWN, 0) + unknown
    return known


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, _UNPACKED_LIMIT)
    if not inflater.eof:
        raise ValueError("it is cut short or too large")
    return plain


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it travels; `part` counts from 0."""

    part: int
    parts: int
    crc: int
    data: bytes


def cut(data: bytes, size: int = PART) -> list[Part]:
    """The parts of `data`; at least one."""
    chunks = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
    crc = zlib.crc32(data)
    return [Part(n, len(chunks), crc, chunk) for n, chunk in enumerate(chunks)]


@dataclass(slots=True)
class Assembly:
    """Takes parts in any order; `whole` is what they make."""

    parts: dict[int, Part] = field(default_factory=dict)
    damaged: bool = False

    def add(self, part: Part) -> None:
        """One more part. One that comes twice or is of another cut spoils the whole, which is then None for good."""
        first = next(iter(self.parts.values()), part)
        same_cut = (part.parts, part.crc) == (first.parts, first.crc) and 0 <= part.part < part.parts
        if not same_cut or part.part in self.parts:
            self.damaged = True
        self.parts[part.part] = part

    @property
    def empty(self) -> bool:
        """Whether no part arrived."""
        return not self.parts

    @property
    def whole(self) -> bytes | None:
        """The bytes that were cut, None while parts are missing or when one was harmed."""
        if self.damaged or self.empty or len(self.parts) != next(iter(self.parts.values())).parts:
            return None
        data = b"".join(self.parts[n].data for n in range(len(self.parts)))
        return data if zlib.crc32(data) == self.parts[0].crc else None
