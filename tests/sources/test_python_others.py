"""Queues in SQLite, PostgreSQL and RabbitMQ that Python's libraries have filled themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procq.scaling.reading import Reading
from tests.servers.postgres import postgres
from tests.servers.rabbitmq import rabbitmq_server
from tests.sources.lab import HOLD, ZONE, Lab, counts, is_young, read, reads, with_soon

pytestmark = [pytest.mark.adapters, pytest.mark.process]

HUEY = f"""{HOLD}
from huey import SqliteHuey
huey = SqliteHuey("work", filename="huey.db")
hold = huey.task()(hold)
"""


@pytest.mark.parametrize("zone", ["UTC", ZONE])
def test_huey(tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    lab = Lab(tmp_path, environment={"TZ": zone})
    url = f"huey+sqlite://{tmp_path}/huey.db"
    lab.app("huey_app", HUEY)
    lab.free()
    lab.python("from huey_app import *\nfor _ in range(3): hold()")
    lab.python("from huey_app import *\nfor late in (600, 3600): hold.schedule(delay=late)")
    try:
        # Those for later are among the others until a worker has seen them.
        assert read(url) == Reading(5, None, 0)
        with lab.worker("huey_consumer", "huey_app.huey", "-w", "1"):
            reads(url, Reading(0, None, 2))
        assert read(url, within=1000) == Reading(1, None, 1, soon=1)
        assert read(f"{url}?queue=other") == Reading(0, None, 0)
    finally:
        monkeypatch.undo()
        time.tzset()


PROCRASTINATE = f"""{HOLD}
import procrastinate
app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=os.environ["POSTGRES"]))
hold = app.task(name="hold", queue="work")(hold)
"""
PROCRASTINATE_ASYNC = PROCRASTINATE.replace("SyncPsycopgConnector", "PsycopgConnector")


@pytest.fixture
def database() -> Iterator[str]:
    with postgres() as found:
        yield found


def test_procrastinate(tmp_path: Path, database: str) -> None:
    lab = Lab(tmp_path, environment={"POSTGRES": database})
    url = f"procrastinate+{database}"
    lab.app("app", PROCRASTINATE)
    lab.app("worker_app", PROCRASTINATE_ASYNC)
    lab.python("from app import *\nwith app.open(): app.schema_manager.apply_schema()")
    assert read(url) == Reading(0, 0, 0)
    lab.python("""
from app import *
with app.open():
    for _ in range(3):
        hold.defer()
    for late in (600, 3600):
        hold.configure(schedule_in={"seconds": late}).defer()
    for _ in range(4):
        hold.configure(lock="one at a time").defer()
    app.configure_task("hold", queue="other").defer()
""")
    assert counts(read(url)) == (3 + 1, 0, 2)
    assert with_soon(read(url, within=1000)) == (3 + 1 + 1, 0, 1, 1)
    assert is_young(read(url))
    assert counts(read(f"{url}&schema=public")) == (4, 0, 2)
    with lab.worker("procrastinate", "--app=worker_app.app", "worker", "--concurrency", "4", "-q", "work"):
        reads(url, Reading(0, 4, 2))


CELERY = f"""{HOLD}
from celery import Celery
app = Celery(broker=os.environ["BROKER"])
app.conf.task_default_queue = "work"
app.conf.worker_prefetch_multiplier = 2
app.conf.task_acks_late = True
hold = app.task(name="hold")(hold)
"""
DRAMATIQ = f"""{HOLD}
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
dramatiq.set_broker(RabbitmqBroker(url=os.environ["BROKER"].removesuffix("/")))
hold = dramatiq.actor(hold, queue_name="later")
"""


def test_rabbitmq(tmp_path: Path) -> None:
    with rabbitmq_server(tmp_path / "rabbitmq") as url:
        lab = Lab(tmp_path, environment={"BROKER": url})
        lab.app("celery_app", CELERY)
        lab.app("dramatiq_app", DRAMATIQ)
        assert read(f"celery+{url}") == Reading(0), "nobody has declared it yet"
        lab.python("from celery_app import *\nfor _ in range(5): hold.delay()")
        reads(f"celery+{url}", Reading(5))
        reads(f"rabbitmq+{url}", Reading(5))
        with lab.worker("celery", "-A", "celery_app", "worker", "-c", "1"):
            reads(f"celery+{url}", Reading(3))
        lab.python("from dramatiq_app import *\nfor _ in range(3): hold.send()")
        lab.python("from dramatiq_app import *\nfor late in (60, 3600): hold.send_with_options(delay=late * 1000)")
        reads(f"dramatiq+{url}?queue=later", Reading(3, None, 2))
