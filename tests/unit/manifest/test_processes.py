"""What the keys about processes, order, roll-outs and files mean."""

from __future__ import annotations

import grp
import os
import pwd
import resource
from pathlib import Path
from textwrap import dedent

import pytest

from procq.errors import ManifestError
from procq.manifest import load_text
from procq.model import (
    GiveUp,
    Limit,
    LogFormat,
    LogPolicy,
    Manifest,
    Queue,
    Share,
    StopPolicy,
    StopTo,
    UpdatePolicy,
    User,
    WhenFull,
)

PATH = Path("/srv/shop/procq.yaml")
SHOP = pwd.struct_passwd(("shop", "x", 1000, 1000, "", "/home/shop", "/bin/bash"))
BARE = pwd.struct_passwd(("bare", "x", 1001, 1001, "", "", ""))
GROUPS = [grp.struct_group((name, "x", gid, [])) for name, gid in (("shop", 1000), ("video", 44), ("audio", 29))]


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch) -> None:
    people = {"shop": SHOP, "bare": BARE}
    monkeypatch.setattr(pwd, "getpwnam", people.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", {person.pw_uid: person for person in people.values()}.__getitem__)
    monkeypatch.setattr(grp, "getgrnam", {group.gr_name: group for group in GROUPS}.__getitem__)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 44])
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def read(text: str, environ: dict[str, str] | None = None) -> Manifest:
    return load_text(dedent(text).encode(), PATH, environ or {})


def queue(text: str, environ: dict[str, str] | None = None) -> Queue:
    lines = ["command: work", *dedent(text).strip().split("\n")]
    return read("queues:\n  emails:\n" + "".join(f"    {line}\n" for line in lines), environ).queues["emails"]


def refusals(text: str) -> list[tuple[str, str]]:
    with pytest.raises(ManifestError) as caught:
        queue(text)
    return [(problem.message, problem.expected) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "ends"),
    [("3", (3, None)), ("2..8", (2, 8)), ("0..20", (0, 20)), ("4..4", (4, None)), ("${A:-1}..${B:-4}", (1, 6))],
)
def test_numbers_and_ranges_of_workers(text: str, ends: tuple[int, int | None]) -> None:
    found = queue(f"workers: {text}", {"B": "6"})
    assert (found.workers, found.most) == ends


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("user: shop", User("shop", 1000, 1000, (44, 1000), "/home/shop", "/bin/bash")),
        ("user: 1000", User("shop", 1000, 1000, (44, 1000), "/home/shop", "/bin/bash")),
        ("user: bare", User("bare", 1001, 1001, (44, 1001))),
        ("user: shop\ngroup: video", User("shop", 1000, 44, (44,), "/home/shop", "/bin/bash")),
        ("user: shop\ngroup: 7\ngroups: video", User("shop", 1000, 7, (44,), "/home/shop", "/bin/bash")),
        ("user: shop\ngroups:\n  - audio\n  - 9", User("shop", 1000, 1000, (9, 29), "/home/shop", "/bin/bash")),
        ("user: 60001\ngroup: 60002", User("60001", 60001, 60002)),
        ("user: 60001\ngroup: video\ngroups: audio", User("60001", 60001, 44, (29,))),
    ],
)  # fmt: skip
def test_users_and_groups(text: str, user: User) -> None:
    assert queue(text).user == user


def test_who_is_not_root_runs_workers_as_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    assert queue("user: shop").user is None
    assert queue("user: 1000\ngroup: shop").user is None
    as_another = ("only root may run workers as somebody else, and procq runs as shop", "start procq as root")
    assert refusals("user: bare") == [as_another]
    groups = ("only root may give workers other groups", "start procq as root, or take the groups out")
    assert refusals("user: shop\ngroup: video") == [groups]
    assert refusals("user: shop\ngroups: shop") == [groups]


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look(name: str) -> pwd.struct_passwd:
        asked.append(name)
        return SHOP

    monkeypatch.setattr(pwd, "getpwnam", look)
    read("defaults:\n  user: shop\nqueues:\n" + "".join(f"  q{n}: work\n" for n in range(20)))
    assert asked == ["shop"]


@pytest.mark.parametrize(("text", "mask"), [("027", 0o27), ("0027", 0o27), ("777", 0o777), ("000", 0)])
def test_masks(text: str, mask: int) -> None:
    assert queue(f"umask: {text}").umask == mask


def test_what_is_not_said_is_not_set() -> None:
    found = queue("nice: 19\ntty: yes")
    assert (found.nice, found.tty, found.umask, found.user, dict(found.rlimits)) == (19, True, None, None, {})
    assert queue("tty: no") == queue("workers: 1")


def test_less_nice_than_procq_takes_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpriority", lambda *_: 5)
    assert queue("nice: -20").nice == -20
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (0, 0))
    assert queue("nice: 5").nice == 5
    expected = ("only root may make workers less nice than procq, which runs at 5", "at least 5, or start as root")
    assert refusals("nice: 4") == [expected]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))
    assert queue("nice: 0").nice == 0


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    found = queue(
        """
        rlimits:
          nofile: 1024
          core: 0
          as: 512MiB..2GiB
          stack: 8MiB..unlimited
          nproc: 100 .. 200
          memlock: unlimited
          data: 0.5kB
        """
    )
    assert found.rlimits == {
        "nofile": Limit(1024, 1024),
        "core": Limit(0, 0),
        "as": Limit(512 << 20, 2 << 30),
        "stack": Limit(8 << 20, None),
        "nproc": Limit(100, 200),
        "memlock": Limit(None, None),
        "data": Limit(500, 500),
    }


def test_limits_are_merged_one_by_one() -> None:
    text = (
        "defaults:\n  rlimits:\n    core: 0\n    cpu: 60\nqueues:\n  a:\n    command: b\n    rlimits:\n      cpu: 5\n"
    )
    assert read(text).queues["a"].rlimits == {"core": Limit(0, 0), "cpu": Limit(5, 5)}


def test_to_raise_a_hard_limit_takes_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 100))
    assert queue("rlimits:\n  nproc: 101").rlimits["nproc"] == Limit(101, 101)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert queue("rlimits:\n  nproc: 20..100").rlimits["nproc"] == Limit(20, 100)
    expected = ("only root may raise the hard limit of nproc, which is 100 for procq", "at most 100")
    assert refusals("rlimits:\n  nproc: 101") == [expected]
    assert refusals("rlimits:\n  nproc: 5..unlimited") == [expected]


def test_order_and_waves() -> None:
    found = read(
        """
        defaults:
          after: redis
        queues:
          late:
            command: work
            after:
              - middle
              - redis
          middle: work
          redis: redis-server
          alone:
            command: work
            after: late
        """
    ).queues
    assert {name: (q.after, q.wave) for name, q in found.items()} == {
        "late": (("middle", "redis"), 2),
        "middle": (("redis",), 1),
        "redis": ((), 0),
        "alone": (("late",), 3),
    }


def test_a_long_chain_is_no_recursion() -> None:
    text = "queues:\n  q0: work\n" + "".join(
        f"  q{n}:\n    command: work\n    after: q{n - 1}\n" for n in range(1, 2000)
    )
    assert read(text).queues["q1999"].wave == 1999


def test_roll_outs() -> None:
    found = queue("update:\n  surge: 100%\n  batch: 3\n  pause: 2s")
    assert found.update == UpdatePolicy(Share(100, percent=True), Share(3), 2.0)
    assert queue("update:\n  surge: 1").update == UpdatePolicy(surge=Share(1))


def test_stops_and_restarts() -> None:
    found = queue("stop:\n  to: group\nrestart:\n  give_up: 10 in 5m")
    assert found.stop == StopPolicy(to=StopTo.GROUP)
    assert found.restart.give_up == GiveUp(10, 300.0)


def test_log_files() -> None:
    found = queue("logs:\n  file: a.log\n  rotate: 64KiB\n  keep: 0\n  format: json\n  full: block")
    assert found.logs == LogPolicy("/srv/shop/a.log", 65536, 0, LogFormat.JSON, WhenFull.BLOCK)
    assert queue("logs:\n  file: a.log\n  rotate: 1.5MB").logs.rotate == 1_500_000
    kept = queue("logs:\n  file: a.log\n  rotate_every: 1.5h\n  total: 1GB\n  compress: yes").logs
    assert kept == LogPolicy("/srv/shop/a.log", rotate_every=5400.0, total=10**9, compress=True)


def test_output_is_sent_where_asked_with_a_file_and_without() -> None:
    assert queue("logs:\n  otlp: yes").logs == LogPolicy(otlp=True)
    assert queue("logs:\n  file: a.log\n  otlp: yes").logs == LogPolicy("/srv/shop/a.log", otlp=True)
    text = "defaults:\n  logs:\n    otlp: yes\nqueues:\n  a: b\n  c:\n    command: d\n    logs:\n      otlp: no\n"
    found = read(text).queues
    assert (found["a"].logs.otlp, found["c"].logs.otlp) == (True, False)


def test_log_files_described_in_defaults_and_named_in_a_queue() -> None:
    text = "defaults:\n  logs:\n    rotate: 5MB\nqueues:\n  a: b\n  c:\n    command: d\n    logs:\n      file: c.log\n"
    found = read(text).queues
    assert found["a"].logs == LogPolicy(rotate=5_000_000)
    assert found["c"].logs == LogPolicy("/srv/shop/c.log", 5_000_000)


def test_a_budget_that_fits() -> None:
    text = "host:\n  budget:\n    workers: {}\nqueues:\n  a:\n    command: b\n    workers: 2..60\n  c: d\n"
    assert read(text.format(3)).budget == 3
    assert read(text.format(64)).budget == 64
    assert read("queues:\n  a: b\n").budget is None
    with pytest.raises(ManifestError, match="the queues need 3 workers, and this machine has a budget of 2"):
        read(text.format(2))


def test_every_default_is_what_leaving_it_out_means() -> None:
    from procq.manifest import schema
    from procq.manifest.keys import Section, Value

    besides = {
        "logs": "\n  file: x.log",
        "health": "\n  tcp: 1",
        "scale": "\n  utilization: 50%\nworkers: 1..2",
    }
    tried = 0
    for key in schema.QUEUE_KEYS:
        words = [key.word] if isinstance(key, Section) and key.word is not None else []
        for below in [*words, *key.keys] if isinstance(key, Section) else (key,):
            if isinstance(below, Value) and below.default is not None:
                inside = isinstance(key, Section) and below not in words
                beside = besides.get(key.name, "") if inside else ""
                same = queue(f"{key.name}:{beside}" if beside else "workers: 1")
                head = f"{key.name}:\n  {below.name}" if inside else key.name
                assert queue(f"{head}: {below.default}{beside}") == same, below.name
                tried += 1
    assert tried >= 25
