"""Redis with keys written by hand: what no library of these tests writes, and what may be wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis

from procq.scaling.place import parse
from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError, connect
from tests.servers.redis import redis_server
from tests.servers.redis_tcp import PASSWORD, redis_ports
from tests.sources.lab import counts, read, with_soon

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with redis_server(tmp_path_factory.mktemp("redis") / "of-all") as path:
        yield path


@pytest.fixture
def redis(socket: Path) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(socket)) as client:
        client.flushall()
        yield client


def test_lists(redis: Redis, socket: Path) -> None:
    redis.rpush("work", *range(3))
    redis.rpush("shop:jobs", *range(5))
    assert read(f"redis-list+unix://{socket}") == Reading(3)
    assert read(f"redis-list+unix://{socket}?key=shop:jobs") == Reading(5)
    assert read(f"redis-list+unix://{socket}?db=1") == Reading(0)


@pytest.mark.parametrize(("scores", "unit"), [("seconds", 1), ("milliseconds", 1000)])
def test_sorted_sets(redis: Redis, socket: Path, scores: str, unit: int) -> None:
    now = time.time()
    redis.zadd("work", {str(late): (now + late) * unit for late in (-90, -5, 30, 500)})
    url = f"redis-zset+unix://{socket}"
    assert read(url) == Reading(4)
    found = read(f"{url}?scores={scores}", within=60)
    assert with_soon(found) == (3, None, 1, 1)
    assert found.oldest == pytest.approx(90, abs=5)
    redis.zremrangebyrank("work", 0, 1)
    assert read(f"{url}?scores={scores}", within=60) == Reading(1, delayed=1, soon=1)
    assert read(f"{url}?scores={scores}&key=other") == Reading(0, delayed=0)


def test_streams(redis: Redis, socket: Path) -> None:
    url = f"redis-stream+unix://{socket}?key=jobs"
    grouped = f"{url}&group=crew"
    assert read(url) == Reading(0)
    assert read(grouped) == Reading(0, 0)
    for _ in range(5):
        redis.xadd("jobs", {"job": "x"})
    assert counts(read(url)) == (5, None, None)
    assert counts(read(grouped)) == (5, 0, None), "nobody has made the group, and nobody has been given any"
    redis.xgroup_create("jobs", "crew", id="0")
    redis.xreadgroup("crew", "me", {"jobs": ">"}, count=2)
    found = read(grouped)
    assert counts(found) == (3, 2, None)
    assert found.oldest is not None
    assert 0 <= found.oldest < 60


def test_streams_of_which_redis_does_not_know_what_is_left(redis: Redis, socket: Path) -> None:
    old = int(time.time() - 100) * 1000
    ids = [redis.xadd("jobs", {"job": "x"}, id=f"{old + n}-0") for n in range(9)]
    redis.xgroup_create("jobs", "crew", id="0")
    redis.xreadgroup("crew", "me", {"jobs": ">"}, count=2)
    redis.xdel("jobs", ids[5])
    (group,) = redis.xinfo_groups("jobs")
    assert group["lag"] is None
    found = read(f"redis-stream+unix://{socket}?key=jobs&group=crew")
    assert counts(found) == (6, 2, None)
    assert found.oldest == pytest.approx(100, abs=5)


def test_ages_are_on_the_clock_of_the_server(redis: Redis, socket: Path) -> None:
    redis.rpush("rq:queue:work", "one", "two")
    redis.hset("rq:job:one", "enqueued_at", time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - 90)))
    found = read(f"rq+unix://{socket}")
    assert counts(found) == (2, 0, 0)
    assert found.oldest == pytest.approx(90, abs=5)


def test_celery_tells_what_is_for_later_and_who_has_it(redis: Redis, socket: Path) -> None:
    def message(eta: float | None = None, published: float | None = None) -> str:
        zone = "+02:00"
        text = None if eta is None else time.strftime(f"%Y-%m-%dT%H:%M:%S{zone}", time.gmtime(time.time() + eta + 7200))
        return json.dumps({"headers": {"eta": text}, "properties": {"published_at": published}})

    redis.lpush("work", message(published=time.time() - 50), message(eta=-20), message(eta=500), "no JSON")
    redis.lpush("work\x06\x166", message(), message(eta=900))
    redis.lpush("work\x06\x165", message())
    held = {
        "a": [json.loads(message()), "work", "work"],
        "b": [json.loads(message(eta=500)), "", "work"],
        "c": [json.loads(message()), "other", "other"],
    }
    redis.hset("unacked", mapping={tag: json.dumps(entry) for tag, entry in held.items()})
    found = read(f"celery+unix://{socket}")
    assert counts(found) == (4, 1, 3)
    assert found.oldest == pytest.approx(50, abs=5)
    assert counts(read(f"celery+unix://{socket}", within=600)) == (5, 1, 2)
    redis.hset("unacked", "d", json.dumps([json.loads(message()), "topic", "shop.*"]))
    assert read(f"celery+unix://{socket}").running is None, "nobody can tell whose that is"


def test_all_of_a_crowd_in_celery_that_is_due_soon_are_seen(redis: Redis, socket: Path) -> None:
    def push(count: int, eta: float | None) -> None:
        text = None if eta is None else datetime.fromtimestamp(time.time() + eta, UTC).isoformat()
        redis.lpush("work", *[json.dumps({"headers": {"eta": text}, "properties": {}})] * count)

    url = f"celery+unix://{socket}"
    push(1000, 50.0)
    assert with_soon(read(url, within=2)) == (0, 0, 1000, 0)
    assert with_soon(read(url, within=100)) == (1000, 0, 0, 1000)
    push(3000, None)
    push(1000, 500.0)
    found = read(url, within=100)
    assert (found.waiting, found.soon, found.delayed) == pytest.approx((4000, 1000, 1000), rel=0.1)
    assert found.waiting + (found.delayed or 0) == 5000
    assert found.running == 0


@pytest.mark.parametrize("kind", ["schedule", "retry"])
def test_all_of_a_crowd_in_sidekiq_that_is_due_soon_are_seen(redis: Redis, socket: Path, kind: str) -> None:
    def push(queue: str, count: int, late: float, prefix: str = "") -> None:
        jobs = (json.dumps({"class": f"{prefix}Job", "queue": queue, "jid": number}) for number in range(count))
        redis.zadd(kind, dict.fromkeys(jobs, time.time() + late))

    url = f"sidekiq+unix://{socket}"
    push("work", 450, 50.0)
    push("other", 40, 40.0)
    assert with_soon(read(url, within=2)) == (0, 0, None, 0), "more for later than are looked at"
    assert with_soon(read(url, within=100)) == (450, 0, 0, 450), "so many are looked at one by one"
    push("work", 1000, 50.0, "A")
    push("other", 3000, 40.0, "A")
    push("work", 5, -10.0, "B")
    push("other", 5000, -20.0, "C")
    found = read(url, within=100)
    assert found.soon == pytest.approx(1450, rel=0.05), "whatever of others is due before"
    assert 0 <= found.waiting - found.soon <= 50, (
        "five of some thousand may be missed, or be taken for ten times as many"
    )
    assert found.delayed == 0


def test_a_hundred_times_as_many_cost_no_more_to_read(redis: Redis, socket: Path) -> None:
    """What is read of it, not how long that takes: by the bytes that Redis sends."""

    def sent(url: str) -> int:
        before = redis.info("stats")["total_net_output_bytes"]
        read(url, within=100)
        return int(redis.info("stats")["total_net_output_bytes"] - before)

    bytes_of = {}
    for count in (1_000, 100_000):
        redis.flushall()
        jobs = (json.dumps({"queue": "work", "jid": f"{number:06}"}) for number in range(count))
        redis.zadd("schedule", dict.fromkeys(jobs, time.time() + 50))
        redis.rpush("work", *[json.dumps({"headers": {"eta": "2100-01-01T00:00:00+00:00"}})] * count)
        bytes_of[count] = sent(f"sidekiq+unix://{socket}"), sent(f"celery+unix://{socket}")
    few, many = bytes_of.values()
    assert many == pytest.approx(few, rel=0.2)


def test_all_queues_of_a_server_are_one_round_trip(redis: Redis, socket: Path) -> None:
    urls = [f"{scheme}+unix://{socket}" for scheme in ("rq", "redis-list", "celery", "huey", "saq", "arq", "dramatiq")]
    places = [parse(f"{url}?queue=q{n}", "q") for url in urls for n in range(20)]
    connection = connect(places[0])
    try:
        connection.read(places[:1], 0.0)
        before = redis.info("stats")["total_reads_processed"]
        found = connection.read(places, 0.0)
        after = redis.info("stats")["total_reads_processed"]
    finally:
        connection.close()
    assert {each.waiting for each in found if isinstance(each, Reading)} == {0}
    assert len(found) == 140
    # One for what was asked, which may come in several pieces, and one for the statistics.
    assert after - before <= 1 + 8


def test_a_key_of_another_kind_spoils_its_own_queue_only(redis: Redis, socket: Path) -> None:
    redis.set("rq:queue:bad", "a string")
    redis.rpush("rq:queue:good", "job")
    redis.rpush("huey.redis.good", "job")
    redis.set("huey.redis.bad", "a string")
    places = [parse(f"{kind}+unix://{socket}?queue={name}", "q") for kind in ("rq", "huey") for name in ("good", "bad")]
    connection = connect(places[0])
    found = connection.read(places, 0.0)
    connection.close()
    assert [type(each) for each in found] == [Reading, SourceError] * 2
    for error in found[1::2]:
        assert isinstance(error, SourceError)
        assert error.kind is Kind.GARBAGE
        assert "queue=bad" in str(error)


@pytest.mark.parametrize("job", ["[]", "null", "{", '{"options": [1]}', '{"message_timestamp": {}}', "\x00\xff"])
def test_jobs_that_are_nonsense_still_count(redis: Redis, socket: Path, job: str) -> None:
    redis.rpush("dramatiq:work", "id")
    redis.hset("dramatiq:work.msgs", "id", job)
    redis.hset("dramatiq:work.DQ.msgs", "other", job)
    redis.rpush("saq:work:queued", "job")
    redis.set("job", job)
    redis.rpush("rq:queue:work", "id")
    redis.hset("rq:job:id", "enqueued_at", job)
    redis.zadd("schedule", {job: 1})
    redis.sadd("processes", "one")
    redis.hset("one:work", "thread", job)
    redis.lpush("queue:work", job)
    redis.lpush("work", job)
    redis.hset("unacked", "tag", job)
    redis.rpush("queues:work", job)
    redis.zadd("huey.redis.work", {job: 1})
    others = ("dramatiq", "saq", "rq", "sidekiq", "celery", "huey", "laravel")
    urls = [f"{name}+unix://{socket}{'?prefix=' if name == 'laravel' else ''}" for name in others]
    places = [parse(url, "work") for url in [*urls, f"redis-list+unix://{socket}"]]
    connection = connect(places[0])
    found = connection.read(places, 0.0)
    connection.close()
    assert found[-1] == Reading(1), "whatever is wrong with the others"
    for each in found:
        assert each.kind is Kind.GARBAGE if isinstance(each, SourceError) else each.waiting == 1, each
    assert sum(isinstance(each, Reading) for each in found) >= len(found) - 1, found


def test_it_connects_again(redis: Redis, socket: Path) -> None:
    place = parse(f"redis-list+unix://{socket}", "work")
    connection = connect(place)
    assert connection.read([place], 0.0) == [Reading(0)]
    redis.client_kill_filter(_type="normal", skipme=True)
    assert connection.read([place], 0.0) == [Reading(0)]
    connection.close()
    assert connection.read([place], 0.0) == [Reading(0)], "it may be read after it was closed"
    connection.close()


def test_passwords_and_tls(tmp_path: Path) -> None:
    with redis_ports(tmp_path / "redis") as ports:
        secret = quote(PASSWORD, safe="")
        plain = f"rq+redis://:{secret}@127.0.0.1:{ports.plain}/0"
        encrypted = f"rq+rediss://default:{secret}@localhost:{ports.tls}/3?ssl_ca_certs={ports.certificate}"
        assert read(plain) == read(encrypted) == Reading(0, 0, 0)
        assert read(f"{encrypted.partition('?')[0]}?ssl_cert_reqs=none") == Reading(0, 0, 0)
        wrong = {
            f"rq://127.0.0.1:{ports.plain}": Kind.AUTH,
            f"rq://:falsch@127.0.0.1:{ports.plain}": Kind.AUTH,
            encrypted.partition("?")[0]: Kind.REFUSED,
            f"rq://:{secret}@127.0.0.1:{ports.tls}": Kind.REFUSED,
        }
        for url, kind in wrong.items():
            with pytest.raises(SourceError) as caught:
                read(url)
            assert caught.value.kind is kind, caught.value
            assert secret not in str(caught.value)
            assert "falsch" not in str(caught.value)
