"""Queues in Redis that Python's libraries have filled themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from procq.scaling.reading import Reading
from tests.process.support.waiting import until
from tests.servers.redis import redis_server
from tests.sources.lab import ARQ, HOLD, ZONE, Lab, counts, is_young, read, reads, with_soon

pytestmark = [pytest.mark.adapters, pytest.mark.process]


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    with redis_server(tmp_path / "redis") as path:
        yield path


@pytest.fixture
def lab(tmp_path: Path, socket: Path) -> Lab:
    return Lab(tmp_path, environment={"SOCKET": str(socket)})


RQ = f"""{HOLD}
from redis import Redis
from rq import Queue
from datetime import timedelta
redis = Redis(unix_socket_path=os.environ["SOCKET"])
queue = Queue("work", connection=redis)
"""


@pytest.mark.parametrize("prefix", ["rq", "shop:rq"])
def test_rq(lab: Lab, socket: Path, prefix: str) -> None:
    url = f"rq+unix://{socket}?prefix={prefix}"
    lab.environment["RQ_KEY_PREFIX"] = prefix
    lab.app("rq_app", RQ)
    assert read(url) == Reading(0, 0, 0)
    lab.python("from rq_app import *\nfor _ in range(4): queue.enqueue(hold)")
    lab.python("from rq_app import *\nfor late in (600, 3600): queue.enqueue_in(timedelta(seconds=late), hold)")
    lab.python("from rq_app import *\nQueue('other', connection=redis).enqueue(hold)")
    assert counts(read(url)) == (4, 0, 2)
    assert with_soon(read(url, within=1000)) == (5, 0, 1, 1)
    assert is_young(read(url))
    with lab.worker("rq", "worker", "--url", f"unix://{socket}", "work"):
        reads(url, Reading(3, 1, 2))


CELERY = f"""{HOLD}
from celery import Celery
app = Celery(broker="redis+socket://" + os.environ["SOCKET"])
app.conf.broker_transport_options = {{"global_keyprefix": os.environ["PREFIX"]}}
app.conf.task_default_queue = "work"
app.conf.worker_prefetch_multiplier = 2
hold = app.task(name="hold")(hold)
"""


@pytest.mark.parametrize("prefix", ["", "shop:"])
def test_celery(lab: Lab, socket: Path, prefix: str) -> None:
    url = f"celery+unix://{socket}?prefix={prefix}"
    lab.environment["PREFIX"] = prefix
    lab.app("celery_app", CELERY)
    assert read(url) == Reading(0, 0, 0)
    lab.python("from celery_app import *\nfor n in range(10): hold.apply_async(priority=n)")
    lab.python("from celery_app import *\nhold.apply_async(queue='other')")
    assert counts(read(url)) == (10, 0, 0)
    lab.python("from celery_app import *\nfor late in (600, 3600): hold.apply_async(countdown=late)")
    assert counts(read(url)) == (10, 0, 2), "nobody starts a worker for what is to be done in an hour"
    assert with_soon(read(url, within=1000)) == (11, 0, 1, 1)
    with lab.worker("celery", "-A", "celery_app", "worker", "-c", "1", "-Q", "work"):
        # Two that its worker has fetched in advance. The one that runs was acknowledged as it began.
        reads(url, Reading(7, 2, 2))


def test_celery_workers_hold_what_is_for_later(lab: Lab, socket: Path) -> None:
    url = f"celery+unix://{socket}"
    lab.environment["PREFIX"] = ""
    lab.app("celery_app", CELERY)
    lab.python("from celery_app import *\nfor late in (600, 3600): hold.apply_async(countdown=late)")
    lab.python("from celery_app import *\nfor _ in range(3): hold.apply_async(queue='other')")
    with lab.worker("celery", "-A", "celery_app", "worker", "-c", "1", "-Q", "work,other"):
        # One runs and is acknowledged; the others are with the worker, as are those for later.
        reads(url, Reading(0, 2, 0), "other")
        reads(url, Reading(0, 0, 2))
        assert with_soon(read(url, within=1000)) == (0, 0, 2, 0), "no other worker can have them"


HUEY = f"""{HOLD}
from huey import PriorityRedisHuey, RedisHuey
kind = {{"list": RedisHuey, "set": PriorityRedisHuey}}[os.environ["KIND"]]
huey = kind("my-work", url="unix://" + os.environ["SOCKET"])
hold = huey.task()(hold)
"""


@pytest.mark.parametrize("zone", ["UTC", ZONE, "America/New_York"])
@pytest.mark.parametrize("kind", ["list", "set"])
def test_huey(lab: Lab, socket: Path, kind: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    url = f"huey+unix://{socket}?queue=my-work"
    lab.environment |= {"KIND": kind, "TZ": zone}
    lab.app("huey_app", HUEY)
    assert read(url) == Reading(0, None, 0)
    lab.free()
    lab.python("from huey_app import *\nfor _ in range(3): hold()")
    lab.python("from huey_app import *\nfor late in (600, 3600): hold.schedule(delay=late)")
    try:
        # Those for later are among the others until a worker has seen them.
        assert counts(read(url)) == (5, None, 0)
        assert is_young(read(url)) == (kind == "set")
        with lab.worker("huey_consumer", "huey_app.huey", "-w", "1"):
            reads(url, Reading(0, None, 2))
        assert with_soon(read(url, within=1000)) == (1, None, 1, 1)
    finally:
        monkeypatch.undo()
        time.tzset()


DRAMATIQ = f"""{HOLD}
import dramatiq
from dramatiq.brokers.redis import RedisBroker
dramatiq.set_broker(RedisBroker(url="unix://" + os.environ["SOCKET"], namespace="shop"))
hold = dramatiq.actor(hold, queue_name="work")
"""


def test_dramatiq(lab: Lab, socket: Path) -> None:
    url = f"dramatiq+unix://{socket}?namespace=shop"
    lab.app("dramatiq_app", DRAMATIQ)
    assert read(url) == Reading(0, 0, 0)
    lab.python("from dramatiq_app import *\nfor _ in range(5): hold.send()")
    lab.python("from dramatiq_app import *\nfor late in (600, 3600): hold.send_with_options(delay=late * 1000)")
    assert counts(read(url)) == (5, 0, 2)
    assert with_soon(read(url, within=1000)) == (6, 0, 1, 1)
    assert is_young(read(url))
    with lab.worker("dramatiq", "dramatiq_app", "-p", "1", "-t", "1"):
        # One that runs, and one that is fetched in advance.
        reads(url, Reading(3, 2, 2))


ARQ_APP = f"""{HOLD}
import asyncio
from arq import create_pool
from arq.connections import RedisSettings
async def held(ctx):
    await asyncio.to_thread(hold)
class WorkerSettings:
    functions = [held]
    redis_settings = RedisSettings(unix_socket_path=os.environ["SOCKET"])
    max_jobs = 2
async def send(*late):
    pool = await create_pool(WorkerSettings.redis_settings)
    for each in late:
        await pool.enqueue_job("held", _defer_by=each or None)
    await pool.aclose()
"""


def test_arq(lab: Lab, socket: Path) -> None:
    lab.bin = ARQ
    url = f"arq+unix://{socket}?queue=arq:queue"
    lab.app("arq_app", ARQ_APP)
    assert read(url) == Reading(0, 0, 0)
    lab.python("from arq_app import *\nasyncio.run(send(0, 0, 0, 0, 0, 600, 3600))")
    assert counts(read(url)) == (5, 0, 2)
    assert with_soon(read(url, within=1000)) == (6, 0, 1, 1)
    assert is_young(read(url))
    with lab.worker("arq", "arq_app.WorkerSettings"):
        reads(url, Reading(3, 2, 2))
        assert is_young(read(url))


SAQ = f"""{HOLD}
import asyncio
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue
queue = RedisQueue(Redis(unix_socket_path=os.environ["SOCKET"]), name="work")
async def held(ctx):
    await asyncio.to_thread(hold)
settings = {{"queue": queue, "functions": [held], "concurrency": 2}}
async def send(*late):
    for each in late:
        await queue.enqueue("held", timeout=0, scheduled=int(time.time() + each) if each else 0)
    await queue.disconnect()
"""


def test_saq(lab: Lab, socket: Path) -> None:
    url = f"saq+unix://{socket}"
    lab.app("saq_app", SAQ)
    assert read(url) == Reading(0, 0, 0)
    lab.python("from saq_app import *\nasyncio.run(send(0, 0, 0, 0, 0, 600, 3600))")
    assert counts(read(url)) == (5, 0, 2)
    assert with_soon(read(url, within=1000)) == (6, 0, 1, 1)
    assert is_young(read(url))
    with Redis(unix_socket_path=str(socket)) as redis, lab.worker("saq", "saq_app.settings"):
        # A worker that has just begun may take a job for stuck that another of its tasks is about to begin.
        redis.flushall()
        until(lambda: redis.exists("saq:work:sweep"), "a worker that has looked for stuck jobs")
        lab.python("from saq_app import *\nasyncio.run(send(0, 0, 0, 0, 0, 600, 3600))")
        reads(url, Reading(3, 2, 2))
        assert is_young(read(url))


TASKIQ = f"""{HOLD}
import asyncio
import taskiq.compat
taskiq.compat.__dict__.setdefault("model_dump", None)  # taskiq 0.13 has lost what taskiq-redis 1.2 imports
taskiq.compat.__dict__.setdefault("model_validate", None)
from taskiq_redis import ListQueueBroker, RedisStreamBroker
kind = {{"list": ListQueueBroker, "stream": RedisStreamBroker}}[os.environ["KIND"]]
more = {{}} if kind is ListQueueBroker else {{"xread_count": 2}}
broker = kind("unix://" + os.environ["SOCKET"], queue_name="work", **more)
@broker.task
async def held():
    await asyncio.to_thread(hold)
async def send(count):
    await broker.startup()
    for _ in range(count):
        await held.kiq()
    await broker.shutdown()
"""


@pytest.mark.parametrize("kind", ["list", "stream"])
def test_taskiq(lab: Lab, socket: Path, kind: str) -> None:
    url = f"taskiq+unix://{socket}"
    lab.environment["KIND"] = kind
    lab.app("taskiq_app", TASKIQ)
    assert read(url).waiting == 0
    lab.python("from taskiq_app import *\nasyncio.run(send(5))")
    assert counts(read(url)) == (5, None if kind == "list" else 0, None)
    assert is_young(read(url)) == (kind == "stream")
    worker = (
        "taskiq",
        "worker",
        "taskiq_app:broker",
        "--workers",
        "1",
        "--max-async-tasks",
        "1",
        "--max-prefetch",
        "1",
    )
    with lab.worker(*worker):
        if kind == "stream":
            reads(url, Reading(3, 2))
            assert is_young(read(url))
