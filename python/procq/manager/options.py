"""How a worker runs, as a value: checked when it is made, never changed afterwards."""

from __future__ import annotations

import math
import os
import resource
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict, Unpack

from procq.errors import did_you_mean
from procq.manifest.people import People
from procq.manifest.units import Refused
from procq.model import (
    MAX_WORKERS,
    Limit,
    LogPolicy,
    Queue,
    RestartPolicy,
    StopPolicy,
    UpdatePolicy,
    User,
)
from procq.names import NAME_RULE, is_name

__all__ = ["Changes", "WorkerOptions", "check_neighbours", "options_of"]

_LIMITS = tuple(sorted(name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")))
_SIGNALS = signal.valid_signals()


class Changes(TypedDict, total=False):
    """What may be said about a worker besides its command; the fields of `WorkerOptions`, where they are explained."""

    workers: int
    directory: str | os.PathLike[str] | None
    env: Mapping[str, str]
    user: str | User | None
    umask: int | None
    nice: int | None
    rlimits: Mapping[str, Limit | int]
    tty: bool
    stop: StopPolicy
    restart: RestartPolicy
    update: UpdatePolicy
    logs: LogPolicy


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How the workers of one queue run. Raises TypeError or ValueError, saying what to do, for what cannot be.

    `command` is an argument vector: no shell looks at it. `workers` is how many there are. `directory` is where they
    run, by default where the program is when the queue is added. `env` is added to the program's environment. `user`
    is who they run as (a name, or a `procq.model.User`), with all groups of that user. `umask` is a mode as in
    `0o027`, `nice` goes from -20 (first) to 19. `rlimits` are by name, as in `{"nofile": 4096}`: a number for both
    limits, or a `Limit`. `tty`: their output is a terminal. `stop`, `restart`, `update` and `logs` are the policies of
    `procq.model`; a log file's path may hold `{queue}` and `{slot}`.
    """

    command: Sequence[str]
    workers: int = 1
    directory: str | os.PathLike[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | User | None = None
    umask: int | None = None
    nice: int | None = None
    rlimits: Mapping[str, Limit | int] = field(default_factory=dict)
    tty: bool = False
    stop: StopPolicy = StopPolicy()
    restart: RestartPolicy = RestartPolicy()
    update: UpdatePolicy = UpdatePolicy()
    logs: LogPolicy = LogPolicy()

    def __post_init__(self) -> None:
        if isinstance(self.command, str | bytes):
            raise TypeError("a command is a list of words, as in ['rq', 'worker', 'emails']")
        # Copies: what the caller changes later is none of ours.
        for name, copy in (("command", tuple), ("env", dict), ("rlimits", dict)):
            object.__setattr__(self, name, copy(getattr(self, name) or ()))
        _check_texts(self)
        _check_numbers(self)
        _check_limits(self.rlimits)
        _check_policies(self)

    def replace(self, **changes: Unpack[Changes]) -> WorkerOptions:
        """The same with some fields changed. Raises as the class does."""
        return replace(self, **changes)

    def queue(self, name: str) -> Queue:
        """The queue `name` whose workers run so; relative paths are meant from where the program is now.

        Raises ValueError for a name that cannot be and for a user that does not exist.
        """
        if not is_name(name):
            raise ValueError(f'"{name}" is not the name of a queue: {NAME_RULE}')
        logs = self.logs
        return Queue(
            name=name,
            command=shlex.join(self.command),
            argv=tuple(self.command),
            workers=self.workers,
            directory=os.path.abspath(self.directory or os.curdir),
            env=self.env,
            stop=self.stop,
            restart=self.restart,
            logs=logs if logs.file is None else replace(logs, file=os.path.abspath(logs.file)),
            user=_user(self.user) if isinstance(self.user, str) else self.user,
            umask=self.umask,
            nice=self.nice,
            rlimits={key: Limit(each, each) if isinstance(each, int) else each for key, each in self.rlimits.items()},
            tty=self.tty,
            update=self.update,
        )


def _user(name: str) -> User | None:
    """Who that is here, as a manifest has it: None for who the program is already."""
    try:
        return People().user(name, None, None)
    except Refused as refused:
        raise ValueError(f"{refused.message}; {refused.expected}") from None


def options_of(command: Sequence[str] | WorkerOptions, changes: Changes) -> WorkerOptions:
    """Options from the two ways to say them: a command, or options as a whole; `changes` on top."""
    if isinstance(command, WorkerOptions):
        return command.replace(**changes)
    return WorkerOptions(command, **changes)


def check_neighbours(name: str, queues: Iterable[str]) -> None:
    """Raises ValueError where a queue would be called like a worker of another one."""
    for one, other in [(name, queue) for queue in queues] + [(queue, name) for queue in queues]:
        owner, _, slot = one.rpartition(".")
        if owner == other and slot.isdecimal():
            raise ValueError(f'"{one}" is also worker {slot} of the queue {owner}')


def _check_texts(options: WorkerOptions) -> None:
    directory = "" if options.directory is None else os.fspath(options.directory)
    for text in (*options.command, directory, *options.env, *options.env.values(), options.logs.file or ""):
        if not isinstance(text, str):
            raise TypeError(f"commands, paths and environments are text, not {type(text).__name__}")
        if "\0" in text:
            raise ValueError("the character NUL cannot be given to a program")
    if not options.command or not options.command[0]:
        raise ValueError("the command names no program")
    for variable in options.env:
        if not variable or "=" in variable:
            raise ValueError(f'"{variable}" is not the name of a variable')


def _check_numbers(options: WorkerOptions) -> None:
    _check_number("workers", options.workers)
    if not 0 <= options.workers <= MAX_WORKERS:
        raise ValueError(f"a queue has between 0 and {MAX_WORKERS} workers, not {options.workers}")
    if options.umask is not None:
        _check_number("umask", options.umask)
        if not 0 <= options.umask <= 0o777:
            raise ValueError(f"a umask is between 0o000 and 0o777, as in 0o027, not {options.umask:#o}")
    if options.nice is not None:
        _check_number("nice", options.nice)
        if not -20 <= options.nice <= 19:
            raise ValueError(f"nice is between -20 and 19, not {options.nice}")


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {type(value).__name__}")


def _check_limits(limits: Mapping[str, Limit | int]) -> None:
    for name, limit in limits.items():
        if name not in _LIMITS:
            hint = did_you_mean(name, _LIMITS, f"use one of {', '.join(_LIMITS)}")
            raise ValueError(f'"{name}" is no resource limit: {hint}')
        soft, hard = (limit, limit) if isinstance(limit, int) else (limit.soft, limit.hard)
        if any(value is not None and value < 0 for value in (soft, hard)):
            raise ValueError(f"the limit {name} is below 0; Limit(None, None) is no limit")
        if hard is not None and (soft is None or soft > hard):
            raise ValueError(f"the soft limit {name} is above the hard one")


def _check_policies(options: WorkerOptions) -> None:
    kinds = {"stop": StopPolicy, "restart": RestartPolicy, "update": UpdatePolicy, "logs": LogPolicy}
    for name, kind in kinds.items():
        value = getattr(options, name)
        if not isinstance(value, kind):
            raise TypeError(f"{name} is a {kind.__name__}, not {type(value).__name__}")
    if options.stop.signal not in _SIGNALS:
        raise ValueError(f"there is no signal {options.stop.signal}; use one of signal.Signals")
    _check_seconds("the grace period", options.stop.grace)
    backoff, give_up = options.restart.backoff, options.restart.give_up
    _check_seconds("the first backoff", backoff.initial)
    _check_seconds("the longest backoff", backoff.maximum)
    if backoff.initial > backoff.maximum:
        raise ValueError(f"the first backoff ({backoff.initial} s) is longer than the longest ({backoff.maximum} s)")
    if give_up is not None:
        _check_seconds("the time for giving up", give_up.within)
        if give_up.failures < 1:
            raise ValueError(f"giving up takes at least 1 failure, not {give_up.failures}")
    _check_seconds("the pause of an update", options.update.pause)


def _check_seconds(what: str, seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{what} is a number of seconds from 0 on, not {seconds}")
