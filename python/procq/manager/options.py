"""How a worker runs, as a value: checked when it is made, never changed afterwards."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict, Unpack

from procq.manager.checks import check
from procq.manifest.people import People
from procq.manifest.units import Refused
from procq.model import (
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
        check(self)

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
