"""Every key of a queue that changes is told."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from procq.intent import Intent, ScaleTo, desired_queue, scale
from procq.model import (
    After,
    Backoff,
    CommandCheck,
    GiveUp,
    Health,
    HttpCheck,
    Limit,
    Limits,
    LogFormat,
    LogLine,
    LogPolicy,
    Notify,
    Queue,
    Readiness,
    RestartPolicy,
    RestartWhen,
    Share,
    StopPolicy,
    StopTo,
    TcpCheck,
    UpdatePolicy,
    User,
    WhenFull,
)
from procq.plan.values import Change, changes
from procq.rules import Claim, Period, ScaleRule, Source, Style
from tests.queues import manifest, queue

SHOP = User("shop", 1001, 1001)
SOURCE = Source("rq://:geheim@h/0")
CHANGED: dict[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "workers": ({"workers": 4}, ("workers", "1", "4")),
    "range": ({"most": 8}, ("workers", "1", "1–8")),
    "command": ({"command": "other", "argv": ("other",)}, ("command", "work", "other")),
    "directory": ({"directory": "/srv"}, ("directory", "/", "/srv")),
    "env": ({"env": {"A": "secret"}}, ("env.A", "", "set")),
    "user": ({"user": SHOP}, ("user", "", "shop")),
    "umask": ({"umask": 0o27}, ("umask", "", "027")),
    "nice": ({"nice": 5}, ("nice", "", "5")),
    "rlimits": ({"rlimits": {"nofile": Limit(1024, None)}}, ("rlimits.nofile", "", "1024..unlimited")),
    "tty": ({"tty": True}, ("tty", "no", "yes")),
    "after": ({"after": ("redis",), "wave": 1}, ("after", "", "redis")),
    "wave": ({"wave": 1}, ("wave", "0", "1")),
    "signal": ({"stop": StopPolicy(2)}, ("stop.signal", "TERM", "INT")),
    "grace": ({"stop": StopPolicy(grace=90.0)}, ("stop.grace", "10s", "90s")),
    "to": ({"stop": StopPolicy(to=StopTo.GROUP)}, ("stop.to", "leader", "group")),
    "policy": ({"restart": RestartPolicy(RestartWhen.NEVER)}, ("restart.policy", "always", "never")),
    "initial": ({"restart": RestartPolicy(backoff=Backoff(1.0))}, ("restart.backoff.initial", "100ms", "1s")),
    "maximum": ({"restart": RestartPolicy(backoff=Backoff(0.1, 60.0))}, ("restart.backoff.maximum", "30s", "1m")),
    "give_up": ({"restart": RestartPolicy(give_up=GiveUp(10, 300.0))}, ("restart.give_up", "", "10 in 5m")),
    "source": ({"source": SOURCE}, ("source", "", "rq://:***@h/0")),
    "every": ({"source": replace(SOURCE, every=5.0)}, ("source", "", "rq://:***@h/0 every 5s")),
    "wait": ({"scale": ScaleRule(wait=30.0)}, ("scale.wait", "", "30s")),
    "backlog": ({"scale": ScaleRule(backlog=2.5)}, ("scale.backlog", "", "2.5")),
    "utilization": ({"scale": ScaleRule(utilization=0.7)}, ("scale.utilization", "", "70%")),
    "metric": ({"scale": ScaleRule(metric=250.0)}, ("scale.metric", "", "250")),
    "style": ({"scale": ScaleRule(style=Style.EAGER)}, ("scale.style", "", "eager")),
    "job_time": ({"scale": ScaleRule(job_time=2.0)}, ("scale.job_time", "", "2s")),
    "fallback": ({"scale": ScaleRule(fallback=3)}, ("scale.fallback", "", "3")),
    "schedule": (
        {"schedule": (Period("0 8 * * *", 3600.0, "UTC", 2, 5),)},
        ("schedule.1", "", "0 8 * * * UTC for 1h: min 2, max 5"),
    ),
    "priority": ({"claim": Claim(priority=3)}, ("share.priority", "", "3")),
    "weight": ({"claim": Claim(weight=2.5)}, ("share.weight", "", "2.5")),
    "claimed memory": ({"claim": Claim(memory=1 << 28)}, ("share.memory", "", "256MiB")),
    "claimed cpus": ({"claim": Claim(cpus=0.5)}, ("share.cpus", "", "0.5")),
    "surge": ({"update": UpdatePolicy(surge=Share(2))}, ("update.surge", "0", "2")),
    "batch": ({"update": UpdatePolicy(batch=Share(3))}, ("update.batch", "25%", "3")),
    "pause": ({"update": UpdatePolicy(pause=0.0)}, ("update.pause", "1s", "0s")),
    "file": ({"logs": LogPolicy("/var/log/{queue}")}, ("logs.file", "", "/var/log/{queue}")),
    "rotate": ({"logs": LogPolicy(rotate=50_000_000)}, ("logs.rotate", "", "50MB")),
    "rotate, in KiB": ({"logs": LogPolicy(rotate=65536)}, ("logs.rotate", "", "64KiB")),
    "keep": ({"logs": LogPolicy(keep=2)}, ("logs.keep", "5", "2")),
    "format": ({"logs": LogPolicy(format=LogFormat.JSON)}, ("logs.format", "text", "json")),
    "rotate_every": ({"logs": LogPolicy(rotate_every=86400.0)}, ("logs.rotate_every", "", "1d")),
    "compress": ({"logs": LogPolicy(compress=True)}, ("logs.compress", "no", "yes")),
    "total": ({"logs": LogPolicy(total=10**9)}, ("logs.total", "", "1GB")),
    "otlp": ({"logs": LogPolicy(otlp=True)}, ("logs.otlp", "no", "yes")),
    "ready": ({"ready": Readiness(TcpCheck(8080))}, ("ready", "spawned", "port 8080")),
    "ready, by a line": ({"ready": Readiness(LogLine("^up$"))}, ("ready", "spawned", "log ^up$")),
    "ready, after a while": ({"ready": Readiness(After(1.5))}, ("ready", "spawned", "delay 1.5s")),
    "ready, as it says": ({"ready": Readiness(Notify())}, ("ready", "spawned", "notify")),
    "ready.timeout": ({"ready": Readiness(timeout=5.0)}, ("ready.timeout", "1m", "5s")),
    "health": (
        {"health": Health(HttpCheck("http://x/"))},
        ("health", "", "http http://x/, every 10s, timeout 5s, failures 3"),
    ),
    "health, by a command": (
        {"health": Health(CommandCheck("ok now", ("ok", "now")))},
        ("health", "", "command ok now, every 10s, timeout 5s, failures 3"),
    ),
    "watchdog": ({"watchdog": 30.0}, ("watchdog", "", "30s")),
    "memory": ({"limits": Limits(memory=2**29)}, ("limits.memory", "", "512MiB")),
    "cpu": ({"limits": Limits(cpu=1.5)}, ("limits.cpu", "", "150%")),
    "pids": ({"limits": Limits(pids=50)}, ("limits.pids", "", "50")),
    "jobs": ({"limits": Limits(jobs=1000)}, ("limits.jobs", "", "1000")),
    "age": ({"limits": Limits(age=21600.0)}, ("limits.age", "", "6h")),
    "job_timeout": ({"limits": Limits(job_timeout=300.0)}, ("limits.job_timeout", "", "5m")),
    "full": ({"logs": LogPolicy(full=WhenFull.BLOCK)}, ("logs.full", "drop", "block")),
}


def told(before: Queue, after: Queue) -> list[Change]:
    old, new = desired_queue(Intent(manifest(before)), before.name), desired_queue(Intent(manifest(after)), after.name)
    assert old is not None
    assert new is not None
    return list(changes(old, new))


@pytest.mark.parametrize("key", CHANGED)
def test_each_change_is_told_in_both_directions(key: str) -> None:
    values, (name, old, new) = CHANGED[key]
    before = queue("emails")
    after = replace(before, **values)
    assert told(before, after) == [Change(name, old, new)]
    assert told(after, before) == [Change(name, new, "" if name == "env.A" else old)] or name == "env.A"
    assert told(after, after) == []


@pytest.mark.parametrize(
    ("user", "change"),
    [
        (User("shop", 1001, 1001, home="/srv"), Change("user", "shop (1001, /)", "shop (1001, /srv)")),
        (User("shop", 1002, 1001), Change("user", "shop (1001, /)", "shop (1002, /)")),
        (User("shop", 1001, 33), Change("group", "1001", "33")),
        (User("shop", 1001, 1001, (33, 44)), Change("groups", "", "33, 44")),
    ],
)
def test_what_changes_about_the_same_user_is_told(user: User, change: Change) -> None:
    before = replace(queue("emails"), user=SHOP)
    assert told(before, replace(before, user=user)) == [change]


def test_there_is_a_case_for_everything_that_a_queue_has() -> None:
    changed = {key for values, _ in CHANGED.values() for key in values}
    assert changed == {each.name for each in fields(Queue)} - {"name"}


def test_a_number_that_does_not_count_is_told_as_such() -> None:
    before = queue("emails", 2)
    by_hand = scale(Intent(manifest(before)), "emails", ScaleTo(5))
    old = desired_queue(by_hand, "emails")
    new = desired_queue(replace(by_hand, manifest=manifest(replace(before, workers=3))), "emails")
    assert old is not None
    assert new is not None
    assert list(changes(old, new)) == [Change("workers", "2", "3 (but set to 5 by hand)")]


def test_another_password_is_told_and_not_shown() -> None:
    before = replace(queue("emails"), source=SOURCE)
    after = replace(queue("emails"), source=Source("rq://:other@h/0"))
    assert told(before, after) == [Change("source", "set", "changed")]
    assert "geheim" not in repr(before)
