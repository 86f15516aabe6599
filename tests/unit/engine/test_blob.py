"""What outlives the control plane is whole or is not used."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Mapping
from dataclasses import replace

import pytest

from procq.engine.blob import LIMIT, Assembly, Memory, Packer, Part, TooLarge, cut, pack, unpack
from procq.intent import Intent
from procq.intent_codec import Unreadable
from procq.model import Queue
from procq.plan.restarted import Restarted
from procq.state import Streak
from tests.queues import manifest, queue

RESTARTS = {Restarted.KILLED: 3, Restarted.UNHEALTHY: 1, Restarted.LIMIT_JOBS: 12}
MEMORY = Memory(Intent(manifest(queue("emails", 3))), {"emails": {2: Streak(3, 1, 9)}}, {"emails": RESTARTS})


def assembled(parts: list[Part]) -> bytes | None:
    assembly = Assembly()
    for part in parts:
        assembly.add(part)
    return assembly.whole


def test_round_trip_in_any_order() -> None:
    parts = cut(pack(MEMORY), 16)
    random.Random(1).shuffle(parts)
    whole = assembled(parts)
    assert whole is not None
    assert unpack(whole) == MEMORY


def told(restarts: object, **more: object) -> Mapping[Restarted, int]:
    """What becomes of restarts that another version has saved."""
    plain = json.loads(zlib.decompress(pack(Memory(MEMORY.intent))))
    return unpack(zlib.compress(json.dumps({**plain, "restarts": restarts, **more}).encode())).restarts["emails"]


def test_restarts_that_another_version_has_counted_are_not_lost() -> None:
    assert told({"emails": 4}) == {Restarted.UNKNOWN: 4}
    later = {"emails": {"killed": 1, "bored": 2, "limit_jobs": 9}}
    assert told({"emails": 3}, reasons=later) == {Restarted.KILLED: 1, Restarted.LIMIT_JOBS: 9, Restarted.UNKNOWN: 2}
    earlier = json.loads(zlib.decompress(pack(MEMORY)))["restarts"]
    assert earlier == {"emails": 4}, "one number, of those that nobody wanted"


def test_nothing_is_still_a_part() -> None:
    assert assembled(cut(b"")) == b""
    assert Assembly().empty
    assert assembled([]) is None


@pytest.mark.parametrize("spoil", ["missing", "twice", "flipped", "other cut", "beyond"])
def test_harm_is_noticed(spoil: str) -> None:
    first, second, *rest = cut(pack(MEMORY), 16)
    harmed = {
        "missing": [first, *rest],
        "twice": [first, first, second, *rest],
        "flipped": [Part(first.part, first.parts, first.crc, b"?" + first.data[1:]), second, *rest],
        "other cut": [Part(first.part, first.parts + 1, first.crc, first.data), second, *rest],
        "beyond": [Part(first.parts, first.parts, first.crc, first.data), second, *rest],
    }[spoil]
    assert assembled(harmed) is None


def test_faults_65_cut_short_at_every_byte_and_with_flipped_bits() -> None:
    data = pack(MEMORY)
    for end in range(len(data)):
        with pytest.raises(Unreadable):
            unpack(data[:end])
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        try:
            assert unpack(flipped) == MEMORY
        except Unreadable:
            continue


def check_size(intent: Intent) -> None:
    Packer().pack(Memory(intent), check=True)


def test_a_queue_that_changed_is_packed_as_it_is_now() -> None:
    """The text of a queue is kept for as long as it is the same object."""
    packer = Packer()
    one, two = queue("emails", 1), queue("reports", 1)
    for queues in ((one, two), (one, queue("reports", 2)), (two,), (queue("emails", 5), two), (two, one)):
        memory = Memory(Intent(manifest(*queues)), {"emails": {2: Streak(3, 1, 9)}}, {"emails": RESTARTS})
        assert unpack(packer.pack(memory)) == memory
        assert list(unpack(packer.pack(memory)).intent.manifest.queues) == [q.name for q in queues]
        assert packer.pack(memory) == pack(memory)


def test_there_is_a_limit() -> None:
    noise = random.Random(1).randbytes(LIMIT).hex()
    with pytest.raises(TooLarge, match="the keeper holds 3145728: shorten"):
        check_size(Intent(manifest(queue(command=noise))))
    check_size(MEMORY.intent)


def test_what_is_allowed_can_be_read_again() -> None:
    """What repeats itself packs well, and is large nevertheless once it is unpacked."""
    large = Queue("emails", "work", ("work",), env={"A": "a" * 1_000_000})
    for number in (10, 100):
        intent = Intent(manifest(*(replace(large, name=f"q{n}") for n in range(number))))
        try:
            check_size(intent)
        except TooLarge:
            continue
        assert unpack(pack(Memory(intent))).intent == intent
    assert number == 100
    with pytest.raises(TooLarge, match="unpacked"):
        check_size(intent)
