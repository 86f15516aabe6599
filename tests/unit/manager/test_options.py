"""What may be said about a worker, and what becomes of it."""

from __future__ import annotations

import os
import pickle
import pwd
import signal
from pathlib import Path
from typing import Any

import pytest

from procq import Backoff, GiveUp, Limit, LogPolicy, RestartPolicy, Share, StopPolicy, UpdatePolicy, WorkerOptions
from procq.manager.options import check_neighbours

RQ = ["rq", "worker", "emails"]


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"command": "rq worker"}, TypeError, r"a list of words, as in \['rq'"),
        ({"command": b"rq"}, TypeError, "a list of words"),
        ({"command": []}, ValueError, "names no program"),
        ({"command": ["rq", 1]}, TypeError, "text, not int"),
        ({"workers": 1.5}, TypeError, "workers is a whole number, not float"),
        ({"workers": True}, TypeError, "workers is a whole number, not bool"),
        ({"workers": 10_001}, ValueError, "between 0 and 10000 workers, not 10001"),
        ({"umask": 0o1000}, ValueError, "between 0o000 and 0o777, as in 0o027, not 0o1000"),
        ({"nice": 20}, ValueError, "between -20 and 19, not 20"),
        ({"rlimits": {"nofiel": 1}}, ValueError, 'did you mean "nofile"'),
        ({"rlimits": {"nofile": -1}}, ValueError, "below 0"),
        ({"rlimits": {"nofile": Limit(2, 1)}}, ValueError, "soft limit nofile is above the hard one"),
        ({"rlimits": {"nofile": Limit(None, 1)}}, ValueError, "soft limit nofile is above the hard one"),
        ({"stop": 5}, TypeError, "stop is a StopPolicy, not int"),
        ({"stop": StopPolicy(signal=999)}, ValueError, "there is no signal 999"),
        ({"stop": StopPolicy(grace=-1)}, ValueError, "the grace period is a number of seconds from 0 on"),
        ({"stop": StopPolicy(grace=float("nan"))}, ValueError, "the grace period"),
        ({"restart": RestartPolicy(backoff=Backoff(5, 1))}, ValueError, "not longer than the longest"),
        ({"restart": RestartPolicy(backoff=Backoff(0, 1))}, ValueError, "more than 0 s"),
        ({"restart": RestartPolicy(give_up=GiveUp(1, 0))}, ValueError, "a time of more than 0 s"),
        (
            {"update": UpdatePolicy(batch=Share(0))},
            ValueError,
            "batch of an update is between 1 and 10000 workers, not 0",
        ),
        ({"update": UpdatePolicy(surge=Share(101, percent=True))}, ValueError, "between 0 and 100%, not 101"),
        ({"logs": LogPolicy(rotate=100)}, ValueError, "4096 bytes or more, not at 100"),
        ({"logs": LogPolicy(keep=-1)}, ValueError, "between 0 and 1000 closed"),
        ({"logs": LogPolicy(otlp=True)}, ValueError, "sent as telemetry by `procq up`"),
        ({"rlimits": {"locks": 1}}, ValueError, "used by procq itself"),
        ({"env": {"PROCQ_SLOT": "1"}}, ValueError, "set by procq itself"),
        ({"restart": RestartPolicy(give_up=GiveUp(0, 1))}, ValueError, "1 to 100 failures"),
        ({"restart": RestartPolicy(give_up=GiveUp(1, -1))}, ValueError, "giving up"),
        ({"update": UpdatePolicy(pause=-1)}, ValueError, "pause of an update"),
        ({"logs": LogPolicy(file="a\0b")}, ValueError, "NUL"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        WorkerOptions(**{"command": RQ, **options})


def test_a_queue_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    options = WorkerOptions(
        RQ, workers=3, directory="shop", env={"A": "1"}, nice=5, umask=0o27, tty=True,
        rlimits={"nofile": 64, "core": Limit(0, None)}, logs=LogPolicy(file="logs/{queue}.log"),
    )  # fmt: skip
    queue = options.queue("emails")
    assert (queue.name, queue.argv, queue.command, queue.workers) == ("emails", tuple(RQ), "rq worker emails", 3)
    assert (queue.directory, queue.logs.file) == (f"{tmp_path}/shop", f"{tmp_path}/logs/{{queue}}.log")
    assert queue.rlimits == {"nofile": Limit(64, 64), "core": Limit(0, None)}
    assert (queue.nice, queue.umask, queue.tty, queue.env) == (5, 0o27, True, {"A": "1"})
    with pytest.raises(ValueError, match="not the name of a queue"):
        options.queue("a b")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run workers as somebody else")
def test_a_user_is_looked_up_with_all_groups() -> None:
    user = WorkerOptions(RQ, user="nobody").queue("a").user
    assert user is not None
    assert user.uid == pwd.getpwnam("nobody").pw_uid
    assert user.gid in user.groups


def test_a_user_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r'no user "roott" on this system; did you mean "root"'):
        WorkerOptions(RQ, user="roott").queue("a")


def test_a_change_is_another_value_and_is_checked_too() -> None:
    first = WorkerOptions(RQ, env={"A": "1"})
    second = first.replace(workers=2, stop=StopPolicy(signal.SIGINT))
    assert (first.workers, second.workers, second.env) == (1, 2, {"A": "1"})
    assert second != first
    assert second == first.replace(workers=2, stop=StopPolicy(signal.SIGINT))
    with pytest.raises(ValueError, match="between 0 and"):
        first.replace(workers=-1)


def test_what_it_was_made_from_can_change() -> None:
    command, env = list(RQ), {"A": "1"}
    options = WorkerOptions(command, env=env)
    command.append("more")
    env["B"] = "2"
    assert options == WorkerOptions(RQ, env={"A": "1"})
    assert pickle.loads(pickle.dumps(options)) == options


def test_a_queue_is_not_called_like_a_worker() -> None:
    check_neighbours("a.b", ["a", "c.1"])
    with pytest.raises(ValueError, match=r'"a\.1" is also worker 1 of the queue a'):
        check_neighbours("a.1", ["a"])
    with pytest.raises(ValueError, match=r'"a\.1" is also worker 1 of the queue a'):
        check_neighbours("a", ["a.1"])
