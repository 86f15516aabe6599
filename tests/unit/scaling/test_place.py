"""URLs of sources: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest

from procq.scaling import place as module
from procq.scaling.place import PRESETS, BadPlace, Place, parse
from procq.scaling.presets import SERVERS


@pytest.mark.parametrize(
    ("url", "expected", "server"),
    [
        (
            "rq+redis://127.0.0.1:6379/0?queue=thumbnails",
            Place("rq", "", "thumbnails", {}, "rq+redis://127.0.0.1:6379/0?queue=thumbnails"),
            "redis://127.0.0.1:6379/0",
        ),
        ("rq://h", Place("rq", "", "mine", {}, "rq://h"), "redis://h/0"),
        (
            "rq+unix:///run/redis.sock?db=2&prefix=shop",
            Place("rq", "", "mine", {"prefix": "shop"}, "rq+unix:///run/redis.sock?db=2&prefix=shop"),
            "unix:///run/redis.sock?db=2",
        ),
        (
            "sql+postgresql:///shop?host=/run/pg&query=SELECT 1+1 -- %26 #",
            Place(
                "sql",
                "",
                "mine",
                {"query": "SELECT 1+1 -- & #"},
                "sql+postgresql:///shop?host=/run/pg&query=SELECT 1+1 -- %26 #",
            ),
            "postgresql:///shop?host=/run/pg",
        ),
        (
            "http://h:8080/x?queue=7&pointer=/a",
            Place("http", "", "mine", {"pointer": "/a"}, "http://h:8080/x?queue=7&pointer=/a"),
            "http://h:8080/x?queue=7",
        ),
        ("exec:bin/count a?b", Place("exec", "", "mine", {}, "exec:bin/count …"), "exec:bin/count a?b"),
        ("file:/srv/in", Place("file", "", "mine", {}, "file:/srv/in"), "file:///srv/in"),
        (
            "prometheus://h/p?query=up",
            Place("prometheus", "", "mine", {"query": "up"}, "prometheus://h/p?query=up"),
            "http://h/p",
        ),
        ("rabbitmq://h//", Place("rabbitmq", "", "mine", {}, "rabbitmq://h//"), "amqp://h//"),
        ("ARQ://[::1]:7/3", Place("arq", "", "mine", {}, "ARQ://[::1]:7/3"), "redis://[::1]:7/3"),
    ],
)
def test_what_urls_mean(url: str, expected: Place, server: str) -> None:
    found = parse(url, "mine")
    assert (found.preset, found.queue, found.options, found.shown) == (
        expected.preset,
        expected.queue,
        expected.options,
        expected.shown,
    )
    assert found.server == server


def test_queues_of_one_server_share_it() -> None:
    urls = ["rq://:p@h:6379/1?queue=a", "rq+redis://:p@h:6379/1", "celery+redis://:p@h:6379/1?prefix=x&queue=b"]
    assert {parse(url, "mine").server for url in urls} == {"redis://:p@h:6379/1"}
    assert parse("rq://h/0", "mine").server == parse("rq://h", "mine").server != parse("rq://h/1", "mine").server


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rq://:geheim@h/0?queue=a", "rq://:***@h/0?queue=a"),
        ("rq://user:ge#he+im%2F@h/0", "rq://user:***@h/0"),
        ("rq+unix:///s?password=geheim&db=1", "rq+unix:///s?password=***&db=1"),
        ("procrastinate://u:geheim@h/d?sslmode=require", "procrastinate://u:***@h/d?sslmode=require"),
        ("sql+postgresql://h/d?password=geheim&query=SELECT 1", "sql+postgresql://h/d?password=***&query=SELECT 1"),
        ("https://u:geheim@h/x?api_key=geheim&token=geheim&q=1", "https://u:***@h/x?api_key=***&token=***&q=1"),
    ],
)
def test_nobody_is_shown_a_password(url: str, shown: str) -> None:
    found = parse(url, "mine")
    assert found.shown == shown
    assert "geheim" not in repr(found) + found.where
    assert "***" not in found.server


@pytest.mark.parametrize(
    ("url", "wrong", "says"),
    [
        ("thumbnails", "thumbnails", "no URL"),
        ("rqq://h", "rqq", 'did you mean "rq"?'),
        ("cellery+redis://h", "cellery+redis", 'did you mean "celery+redis"?'),
        ("telnet://h", "telnet", "these are known: arq, bullmq,"),
        ("celery://h", "celery", 'write "celery+redis://" or "celery+amqp://"'),
        ("redis://h", "redis", '"rq+redis://"'),
        ("postgres://h", "postgres", '"procrastinate+postgresql://"'),
        ("rq://h?queu=a", "queu", 'did you mean "queue"?'),
        ("rq://h?a=1", "a", "these are known: queue, prefix"),
        ("rq://h?queue=a&queue=b", "queue", "twice"),
        ("rq:///0", "://", "there is no host"),
        ("rq://h:port/0", "port", "no port"),
        ("rq://h:70000/0", "70000", "no port"),
        ("rq://h/emails", "/emails", 'the queue is named by "?queue="'),
        ("rq+unix://run/redis.sock", "run", 'write "rq+unix:///run/redis.sock"'),
        ("file:inbox", "inbox", "absolute"),
        ("exec: ", "exec: ", "no command"),
        ("sql+sqlite:///x", None, 'the parameter "query" is missing'),
        ("laravel+redis://h", None, 'the parameter "prefix" is missing'),
        ("rq+unix:///s?db=one", "one", 'the number of the database, as in "db=0"'),
        ("http://h/?pointer=a/b", "a/b", "as a JSON Pointer"),
        ("rq+rediss://h?ssl_cert_reqs=no", "no", "`required`, `optional` or `none`"),
        ("rq://h?queue=", None, '"queue" is empty'),
    ],
)
def test_what_is_said_of_urls_that_mean_nothing(url: str, wrong: str | None, says: str) -> None:
    with pytest.raises(BadPlace) as caught:
        parse(url, "mine")
    assert says in str(caught.value)
    place = caught.value.place
    assert (None if place is None else url[slice(*place)]) == wrong


@pytest.mark.parametrize("name", PRESETS)
def test_each_example_means_its_preset(name: str) -> None:
    preset = PRESETS[name]
    assert parse(preset.example, "mine").preset == name
    assert set(preset.schemes.values()) <= set(SERVERS)
    assert "waiting" in preset.says


def test_schemes_of_others_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "plugged", lambda: frozenset({"sqs"}))
    found = parse("sqs://eu-central-1/17?queue=a&region=x&secret_key=geheim", "mine")
    assert (found.preset, found.server, found.queue) == ("sqs", "sqs://eu-central-1/17", "a")
    assert found.options == {"region": "x", "secret_key": "geheim"}
    assert "geheim" not in repr(found.shown)
    with pytest.raises(BadPlace, match='did you mean "sqs"'):
        parse("sqss://h", "mine")
