"""Reading beside the event loop: together, with a deadline, and one server does not wait for another."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from procq.scaling.place import Place, parse
from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError
from procq.scaling.sources.pool import Pool
from tests.process.support.waiting import PATIENCE

SHORT = 0.05
"""Seconds of a deadline that is to pass."""


@dataclass
class Fake:
    """A server that answers with the length of a queue's name, as soon as `free` is set."""

    free: threading.Event = field(default_factory=threading.Event)
    reads: list[tuple[list[str], float]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    fault: Exception | None = None
    threads: set[str] = field(default_factory=set)

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        self.reads.append(([place.queue for place in places], within))
        assert self.free.wait(PATIENCE)
        if self.fault is not None:
            raise self.fault
        bad = SourceError(Kind.GARBAGE, "a hash and no list")
        return [bad if place.queue == "bad" else Reading(len(place.queue)) for place in places]

    def close(self) -> None:
        self.closed.set()


class Fakes:
    """Servers by host. Those whose names begin with "slow" answer when they are told to."""

    def __init__(self) -> None:
        self.made: dict[str, Fake] = {}

    def connect(self, place: Place) -> Fake:
        assert place.server not in self.made, "one connection for each server"
        fake = self.made[place.server] = Fake()
        if "slow" not in place.server:
            fake.free.set()
        return fake

    def at(self, host: str) -> Fake:
        return self.made[f"redis://{host}/0"]


def place(host: str, queue: str) -> Place:
    return parse(f"rq://{host}?queue={queue}", queue)


def pooled(test: Callable[[Pool, Fakes], Awaitable[None]], **settings: float) -> None:
    """Runs a test with a pool of fakes, and lets nobody stay behind."""

    async def run() -> None:
        fakes = Fakes()
        pool = Pool(connect=fakes.connect, **settings)
        try:
            await test(pool, fakes)
        finally:
            for fake in fakes.made.values():
                fake.free.set()
            await pool.aclose()
        for fake in fakes.made.values():
            assert await asyncio.to_thread(fake.closed.wait, PATIENCE)

    asyncio.run(run())


async def becomes(what: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not what():
            await asyncio.sleep(0.001)


def test_who_asks_at_once_is_read_together() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        names = ["a", "bb", "ccc", "a"]
        found = await asyncio.gather(*(pool.read(place("h", name)) for name in names))
        assert found == [Reading(len(name)) for name in names]
        assert fakes.at("h").reads == [(["a", "bb", "ccc"], 0.0)]

    pooled(test)


def test_who_asks_meanwhile_is_read_next_and_together() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        first = asyncio.create_task(pool.read(place("slow", "a")))
        await becomes(lambda: fakes.made and fakes.at("slow").reads)
        others = [asyncio.create_task(pool.read(place("slow", name))) for name in ("bb", "ccc", "a")]
        await asyncio.sleep(0)
        fakes.at("slow").free.set()
        assert [await each for each in (first, *others)] == [Reading(1), Reading(2), Reading(3), Reading(1)]
        assert [names for names, _ in fakes.at("slow").reads] == [["a"], ["bb", "ccc", "a"]]

    pooled(test)


def test_foreknowledge_is_rounded_up_to_few_steps() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        await asyncio.gather(*(pool.read(place("h", "a"), within) for within in (0.0, 1.1, 1.4, 2.0, 70.0)))
        assert fakes.at("h").reads == [(["a"], 0.0), (["a"], 2.0), (["a"], 120.0)]

    pooled(test)


def test_nobody_leaves_before_the_first_question() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        for number in range(200):
            assert await pool.read(place(f"h{number}", "a")) == Reading(1)

    pooled(test, idle=0.0)


def test_a_stuck_server_delays_nobody_and_is_not_asked_again() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        for _ in range(20):
            with pytest.raises(SourceError, match="has not answered within") as caught:
                await pool.read(place("slow", "a"))
            assert caught.value.kind is Kind.TIMEOUT
            assert await pool.read(place("h", "a")) == Reading(1)
        stuck = fakes.at("slow")
        assert len(stuck.reads) == 1
        assert sum(thread.name == "source" for thread in threading.enumerate()) == 2
        stuck.free.set()
        # Nobody waits for those that were asked for meanwhile.
        assert await pool.read(place("slow", "bb")) == Reading(2)
        assert len(stuck.reads) <= 3

    pooled(test, deadline=SHORT)


def test_what_fails_fails_for_those_whom_it_concerns() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        good, bad = await asyncio.gather(
            pool.read(place("h", "a")), pool.read(place("h", "bad")), return_exceptions=True
        )
        assert good == Reading(1)
        assert isinstance(bad, SourceError)
        assert bad.kind is Kind.GARBAGE
        for fault, kind in ((SourceError(Kind.AUTH, "no"), Kind.AUTH), (ZeroDivisionError("oh"), Kind.OTHER)):
            fakes.at("h").fault = fault
            results = await asyncio.gather(
                *(pool.read(place("h", name)) for name in ("a", "b")), return_exceptions=True
            )
            assert [getattr(each, "kind", None) for each in results] == [kind, kind]
        fakes.at("h").fault = None
        assert await pool.read(place("h", "a")) == Reading(1), "the thread has survived"

    pooled(test)


def test_a_server_that_nobody_asks_is_left() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        await pool.read(place("h", "a"))
        await becomes(lambda: not pool.servers)
        assert await asyncio.to_thread(fakes.made.pop("redis://h/0").closed.wait, PATIENCE)
        assert await pool.read(place("h", "a")) == Reading(1), "it can be asked again"

    pooled(test, idle=SHORT)


def test_servers_that_are_not_kept_are_closed() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        await asyncio.gather(pool.read(place("a", "a")), pool.read(place("b", "b")))
        pool.keep({"redis://b/0"})
        assert pool.servers == {"redis://b/0"}
        assert await asyncio.to_thread(fakes.at("a").closed.wait, PATIENCE)
        assert not fakes.at("b").closed.is_set()

    pooled(test)


def test_nobody_waits_for_a_pool_that_is_closed() -> None:
    async def test(pool: Pool, fakes: Fakes) -> None:
        waiting = asyncio.create_task(pool.read(place("slow", "a")))
        await becomes(lambda: fakes.made and fakes.at("slow").reads)
        await pool.aclose()
        for read in (waiting, pool.read(place("h", "a"))):
            with pytest.raises(SourceError):
                await read

    pooled(test)


def test_a_connection_that_cannot_be_made_is_an_answer() -> None:
    async def run() -> None:
        def connect(place: Place) -> Fake:
            raise SourceError(Kind.MISSING_LIBRARY, "pip install 'procq[redis]'")

        pool = Pool(connect=connect)
        with pytest.raises(SourceError, match="pip install"):
            await pool.read(place("h", "a"))
        await pool.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_together(seed: int) -> None:
    """Slow servers, faults, questions that are given up, servers that are left: answers stay right."""
    dice = random.Random(seed)

    class Server:
        def __init__(self) -> None:
            self.busy = False

        def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
            assert not self.busy, "two readings at the same time"
            self.busy = True
            time.sleep(dice.choice([0.0, 0.0, 0.001, 0.01, 2 * SHORT]))
            self.busy = False
            if dice.random() < 0.05:
                raise OSError
            return [Reading(len(place.queue)) for place in places]

        def close(self) -> None:
            pass

    async def client(pool: Pool) -> int:
        right = 0
        for _ in range(40):
            asked = place(f"h{dice.randrange(8)}", "q" * dice.randrange(1, 6))
            read = asyncio.create_task(pool.read(asked, dice.choice([0.0, 0.0, 3.0])))
            if dice.random() < 0.1:
                await asyncio.sleep(dice.random() * SHORT)
                read.cancel()
            with suppress(SourceError, asyncio.CancelledError):
                assert await read == Reading(len(asked.queue))
                right += 1
            if dice.random() < 0.02:
                pool.keep({f"redis://h{n}/0" for n in range(4)})
        return right

    async def run() -> None:
        pool = Pool(connect=lambda place: Server(), deadline=SHORT, idle=SHORT / 2)
        async with asyncio.timeout(6 * PATIENCE):
            assert sum(await asyncio.gather(*(client(pool) for _ in range(20)))) > 0
        await pool.aclose()
        await becomes(lambda: not any(thread.name == "source" for thread in threading.enumerate()))

    asyncio.run(run())
