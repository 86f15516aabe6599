"""Celery on a real Redis: jobs in hand are finished whatever happens to the number of workers, each exactly once.

A slow job is one whose photo is a pipe: it is in hand for as long as the test does not write the photo.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
from redis import Redis

from procq import wire
from tests.examples.running import BIN, PATIENCE, Running, run_example
from tests.process.support.waiting import until
from tests.servers.redis import redis_server

pytestmark = [pytest.mark.examples, pytest.mark.process]
PHOTO = b"P6 128 64 255\n" + bytes(range(256)) * 96
SIZE = [64, 32]  # of its thumbnail
CHILDREN = 2  # prefork children of each thumbnails worker

# Run by a process of its own, as any producer is: Celery's results outlive a test, and then look for its Redis.
SEND = "import json, sys, shop; print(json.dumps([shop.thumbnail.delay(photo).id for photo in sys.argv[1:]]))"
FETCH = "import json, sys, shop; print(json.dumps([shop.app.AsyncResult(id).get(timeout=30) for id in sys.argv[1:]]))"


@dataclass(frozen=True)
class Shop:
    """The running example and its Redis."""

    demo: Running
    redis: Redis
    url: str

    def slow(self, *names: str) -> dict[str, str]:
        """Sends jobs that stay in hand until `deliver`; returns their ids by name."""
        photos = self.demo.folder / "photos"
        photos.mkdir(exist_ok=True)
        for name in names:
            os.mkfifo(photos / f"{name}.ppm")
        return self._send(names)

    def quick(self, *names: str) -> dict[str, str]:
        """Sends jobs whose photo is there; returns their ids by name."""
        for name in names:
            (self.demo.folder / "photos" / f"{name}.ppm").write_bytes(PHOTO)
        return self._send(names)

    def _send(self, names: Sequence[str]) -> dict[str, str]:
        return dict(zip(names, json.loads(self.python("-c", SEND, *(f"{name}.ppm" for name in names))), strict=True))

    def results(self, jobs: dict[str, str]) -> dict[str, object]:
        """What the jobs have returned; waits for them, and fails if one has failed."""
        return dict(zip(jobs, json.loads(self.python("-c", FETCH, *jobs.values())), strict=True))

    def python(self, *arguments: str) -> str:
        """Runs a Python program in the example's folder and returns its output; fails where it does."""
        done = subprocess.run(
            [BIN / "python", *arguments],
            cwd=self.demo.folder,
            env={**os.environ, "REDIS_URL": self.url},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def deliver(self, *names: str) -> None:
        """Lets slow jobs go on. Fails where nobody waits for the photo any more: its job was killed."""
        for name in names:
            path = self.demo.folder / "photos" / f"{name}.ppm"
            pipe = until(partial(opened, path), f"a job that reads {name}")
            assert pipe is not None
            os.set_blocking(pipe, True)
            with open(pipe, "wb") as file:
                file.write(PHOTO)

    def entries(self, word: str) -> list[tuple[str, int, str]]:
        """Worker, pid and photo of the ledger's lines on thumbnails that have the word `began` or `done`."""
        ledger = self.demo.folder / "ledger.txt"
        lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
        return [(line[0], int(line[1]), Path(line[4]).stem) for line in lines if line[2:4] == [word, "thumbnail"]]

    def in_hand(self, count: int) -> list[tuple[str, int, str]]:
        """Waits until so many thumbnails have been begun, and returns their entries."""
        until(lambda: len(self.entries("began")) >= count, f"{count} jobs that have begun", PATIENCE)
        return self.entries("began")

    def states(self) -> Counter[str]:
        """How many workers of `thumbnails` are in each state."""
        status = wire.from_json(wire.StatusView, self.demo.command("status", "--json"))
        return Counter(each.state for each in status.workers if each.queue == "thumbnails")

    def leaders_are_told(self, count: int) -> None:
        """Waits until so many Celery masters have begun their warm shutdown."""
        told = "worker: Warm shutdown"
        self.demo.wait_for(told, lambda lines: sum(told in line for line in lines) >= count)

    def save(self, before: str, after: str) -> None:
        """Saves the manifest with another number of workers for `thumbnails`, the last queue in it."""
        manifest = self.demo.folder / "procq.yaml"
        head, found, tail = manifest.read_text().rpartition(f"workers: {before}")
        assert found
        manifest.write_text(f"{head}workers: {after}{tail}")

    def redis_is_clean(self) -> None:
        """Waits until no job is queued and each is acknowledged."""
        keys = ("emails", "thumbnails", "unacked", "unacked_index")
        until(lambda: not self.redis.exists(*keys), "acknowledgements of all jobs")


def opened(pipe: Path) -> int | None:
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:  # nobody reads it yet
            raise
        return None


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    scratch = tmp_path_factory.mktemp("c")
    with (
        redis_server(scratch / "redis") as socket,
        Redis(unix_socket_path=str(socket)) as redis,
        run_example("celery-redis", scratch, REDIS_URL=f"redis+socket://{socket}") as demo,
    ):
        yield Shop(demo, redis, f"redis+socket://{socket}")


def each_done_once(shop: Shop, jobs: dict[str, str]) -> None:
    """Results, ledger, files and Redis agree: every job was begun once, done once, and acknowledged."""
    assert shop.results(jobs) == dict.fromkeys(jobs, SIZE)
    shop.redis_is_clean()
    once = Counter(dict.fromkeys(jobs, 1))
    assert Counter(photo for _, _, photo in shop.entries("began")) == once
    assert Counter(photo for _, _, photo in shop.entries("done")) == once
    assert sorted(shop.entries("began")) == sorted(shop.entries("done")), "begun by one process, done by another"
    for name in jobs:
        assert png_size((shop.demo.folder / "thumbnails" / f"{name}.png").read_bytes()) == SIZE


def png_size(png: bytes) -> list[int]:
    """Width and height; fails for pictures whose pixels are not all there."""
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    start = png.index(b"IDAT") + 4
    pixels = zlib.decompress(png[start : start + int.from_bytes(png[start - 8 : start - 4])])
    assert len(pixels) == height * (1 + width * 3)
    return [width, height]


def test_orders_are_worked_by_both_queues(shop: Shop) -> None:
    assert "10 jobs done" in shop.python("order.py", "5")
    assert len(list((shop.demo.folder / "outbox" / "new").iterdir())) == 5
    assert len(list((shop.demo.folder / "thumbnails").glob("*.png"))) == 5
    shop.redis_is_clean()
    assert shop.demo.interrupt() == 0


def test_saving_other_numbers_of_workers_in_the_middle_of_slow_jobs(shop: Shop) -> None:
    jobs = shop.slow("a1", "a2")
    shop.in_hand(CHILDREN)
    before = shop.demo.workers("thumbnails")

    shop.save("1", "3")
    jobs |= shop.slow("b1", "b2", "c1", "c2")
    began = shop.in_hand(3 * CHILDREN)
    assert Counter(worker for worker, _, _ in began) == {f"thumbnails.{slot}": CHILDREN for slot in (1, 2, 3)}
    jobs |= shop.quick("q1", "q2", "q3", "q4", "q5", "q6")  # wait behind the slow ones

    shop.save("3", "1")
    shop.leaders_are_told(2)
    assert shop.states() == {"running": 1, "stopping": 2}
    assert shop.entries("done") == []
    assert all(psutil.pid_exists(pid) for _, pid, _ in began), "a child was killed over its job"

    shop.deliver("a1", "a2", "b1", "b2", "c1", "c2")
    until(lambda: shop.states() == {"running": 1}, "one worker left", PATIENCE)
    each_done_once(shop, jobs)
    assert shop.demo.workers("thumbnails") == before, "the worker that stays was touched"
    assert shop.demo.interrupt() == 0
    assert shop.demo.left_behind() == []


def test_a_command_and_an_interrupt_let_busy_children_finish(shop: Shop) -> None:
    jobs = shop.slow("a1", "a2")
    shop.in_hand(CHILDREN)
    shop.demo.command("scale", "thumbnails=0")
    shop.leaders_are_told(1)
    shop.deliver("a1", "a2")
    until(lambda: not shop.demo.workers("thumbnails"), "no worker left", PATIENCE)
    each_done_once(shop, jobs)

    shop.demo.command("scale", "thumbnails=1")
    jobs |= shop.slow("b1")
    shop.in_hand(CHILDREN + 1)
    shop.demo.process.send_signal(signal.SIGINT)
    shop.leaders_are_told(3)  # the one that has left, this one, and emails.1
    shop.deliver("b1")
    assert shop.demo.process.wait(PATIENCE) == 0
    assert shop.demo.left_behind() == []
    each_done_once(shop, jobs)
