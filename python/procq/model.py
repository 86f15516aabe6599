"""The desired state: what a manifest means, once everything in it has been read and checked.

All values are final: variables expanded, defaults applied, paths absolute, units converted (seconds, bytes).
Nothing here knows where a value came from, how it is shown, or what runs.
"""

from __future__ import annotations

import hashlib
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from procq.rules import Claim, Guard, Period, ScaleRule, Source

_PLACEHOLDER = re.compile(r"\{(?:\{|queue\}|slot\})")
_EMPTY: Mapping[str, str] = MappingProxyType({})
_NO_LIMITS: Mapping[str, Limit] = MappingProxyType({})


MAX_WORKERS = 10_000
"""Most workers of a queue: more are a typing mistake."""


class RestartWhen(StrEnum):
    """After which ends of a worker another one takes its slot."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class StopTo(StrEnum):
    """Who hears the stop signal first."""

    LEADER = "leader"
    GROUP = "group"


class LogFormat(StrEnum):
    """How lines stand in a log file: as written, behind time and worker, or each as a JSON object."""

    TEXT = "text"
    PREFIXED = "prefixed"
    JSON = "json"


class WhenFull(StrEnum):
    """What becomes of output that its log file does not take: it is counted and dropped, or the worker waits."""

    DROP = "drop"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How a worker is asked to leave: `signal` to its leader (or its process group, as `to` says), SIGKILL to its whole
    tree after `grace` seconds.
    """

    signal: int = signal.SIGTERM
    grace: float = 10.0
    to: StopTo = StopTo.LEADER


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before a restart: the first is immediate, then `initial`, doubling up to `maximum`."""

    initial: float = 0.1
    maximum: float = 30.0


MOST_FAILURES: Final = 100
"""How many failures of a slot are remembered with their times."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The `failures`-th failure of a slot `within` so many seconds is the last: then it rests until somebody acts.

    At most `MOST_FAILURES`: so many are remembered with their times.
    """

    failures: int
    within: float


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When, and after how long, a worker that ended is replaced; without `give_up` it is tried for ever."""

    when: RestartWhen = RestartWhen.ALWAYS
    backoff: Backoff = Backoff()
    give_up: GiveUp | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A number of workers, or (`percent`) so many of every hundred, rounded up."""

    number: int
    percent: bool = False

    def of(self, workers: int) -> int:
        """How many of `workers` that are."""
        return -(-workers * self.number // 100) if self.percent else self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


@dataclass(frozen=True, slots=True)
class UpdatePolicy:
    """How workers are replaced when what they run has changed.

    At most `batch` of them (always at least one) are on their way out or in at any time; `surge` more than wanted run
    meanwhile. A new worker has arrived when it has executed for `pause` seconds.
    """

    surge: Share = Share(0)
    batch: Share = Share(25, percent=True)
    pause: float = 1.0


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """Where output goes besides memory.

    `file` is an absolute path that may hold `{queue}` and `{slot}`; `{{` stands for a brace that is a part of it. It
    is rotated before it grows beyond `rotate` bytes and when it is `rotate_every` seconds old (None: never). `keep`
    closed ones stay, as long as all together take at most `total` bytes (None: no matter), compressed if `compress`.
    `otlp`: lines are sent as telemetry too, where the control plane sends any.
    """

    file: str | None = None
    rotate: int | None = None
    keep: int = 5
    format: LogFormat = LogFormat.TEXT
    full: WhenFull = WhenFull.DROP
    rotate_every: float | None = None
    compress: bool = False
    total: int | None = None
    otlp: bool = False

    def path(self, worker: WorkerId) -> str | None:
        """The file that takes the output of `worker`; None: memory only."""
        return None if self.file is None else filled_in(self.file, worker)


@dataclass(frozen=True, slots=True)
class Spawned:
    """Ready as soon as the program executes."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Ready when the worker says so: `READY=1` on its notify socket, as sd_notify(3)."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """Ready when a line of its output matches `pattern`, a regular expression that takes linear time."""

    pattern: str


@dataclass(frozen=True, slots=True)
class After:
    """Ready when it has executed for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Good when a connection to `port` of this machine (127.0.0.1) is accepted."""

    port: int


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Good when a GET of `url` is answered with 200 to 399; `{queue}` and `{slot}` in it are filled in."""

    url: str


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """Good when the command exits with 0; it runs as the worker does: environment, directory, user, limits."""

    command: str
    argv: tuple[str, ...]


ReadyCheck = Spawned | Notify | LogLine | After | TcpCheck | HttpCheck
HealthCheck = TcpCheck | HttpCheck | CommandCheck


@dataclass(frozen=True, slots=True)
class Readiness:
    """When a worker counts as ready; one that is not within `timeout` seconds of its start has failed."""

    check: ReadyCheck = Spawned()
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Health:
    """A ready worker is asked `every` so many seconds, and fails after `failures` answers in a row that are bad.

    No answer within `timeout` seconds is a bad one.
    """

    check: HealthCheck
    every: float = 10.0
    timeout: float = 5.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use before another one takes its place; None is no limit.

    `memory` (bytes), `cpu` (cores, 2.0 keeps two busy) and `pids` (processes and threads) are of its whole process
    tree; `jobs` is how many it does, `age` how many seconds it executes, `job_timeout` how many one job takes.
    """

    memory: int | None = None
    cpu: float | None = None
    pids: int | None = None
    jobs: int | None = None
    age: float | None = None
    job_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class StartRate:
    """At most `number` starts `within` so many seconds, of all queues together."""

    number: int = 250
    within: float = 1.0


@dataclass(frozen=True, slots=True)
class User:
    """Who a worker runs as, looked up when the manifest was loaded; `groups` are the supplementary ones."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"
    shell: str = "/bin/sh"


@dataclass(frozen=True, slots=True)
class Limit:
    """A resource limit as setrlimit(2) takes it; None is no limit."""

    soft: int | None
    hard: int | None


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue: the command that works it, and how many workers it deserves.

    `argv` is the final argument vector (`/bin/sh -c …` for `shell: yes`); `command` is the text a person wrote, for
    display. `workers` is the number, or the least of a range whose other end is `most`. `env` holds only what the
    manifest adds to the environment procq was started with. `rlimits` are by name, as `nofile`. `after` names the
    queues that start before this one; `wave` is how many queues stand in a row before it. A worker that does not say
    `WATCHDOG=1` for `watchdog` seconds hangs.
    """

    name: str
    command: str
    argv: tuple[str, ...]
    workers: int = 1
    directory: str = "/"
    env: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    stop: StopPolicy = StopPolicy()
    restart: RestartPolicy = RestartPolicy()
    logs: LogPolicy = LogPolicy()
    most: int | None = None
    user: User | None = None
    umask: int | None = None
    nice: int | None = None
    rlimits: Mapping[str, Limit] = field(default_factory=lambda: _NO_LIMITS)
    tty: bool = False
    after: tuple[str, ...] = ()
    wave: int = 0
    update: UpdatePolicy = UpdatePolicy()
    ready: Readiness = Readiness()
    health: Health | None = None
    watchdog: float | None = None
    limits: Limits = Limits()
    source: Source | None = None
    scale: ScaleRule | None = None
    schedule: tuple[Period, ...] = ()
    claim: Claim = Claim()

    @property
    def scales(self) -> bool:
        """Whether its number of workers follows something."""
        follows = self.source is not None or self.scale is not None or bool(self.schedule)
        return self.most is not None and follows

    @property
    def fingerprint(self) -> str:
        """Hash of everything whose change replaces the workers (nature *rolling*); equal text means equal workers.

        Another version of procq must find the same: what is new here is left out where it is not set.
        """
        surroundings: tuple[object, ...] = (self.user, self.umask, self.nice, sorted(self.rlimits.items()), self.tty)
        if self.watchdog is not None:
            surroundings = (*surroundings, self.watchdog)
        variables = (f"{k}={v}" for k, v in sorted(self.env.items()))
        parts = [self.directory, *self.argv, "", *variables, "", repr(surroundings)]
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole file: the queues by name, in the file's order. `directory` is where the file is.

    `files` are the absolute paths and patterns of what was read besides it. `budget` is how many workers the machine
    bears; None: as many as the queues want. `starts` is how fast workers are started. `cpus` and `memory` (bytes) are
    what workers may take of the machine, `guard` is when it is under pressure; None: nobody looks.
    """

    name: str
    queues: Mapping[str, Queue]
    directory: str = "/"
    files: tuple[str, ...] = ()
    budget: int | None = None
    starts: StartRate = StartRate()
    cpus: float | None = None
    memory: int | None = None
    guard: Guard | None = None


@dataclass(frozen=True, slots=True, order=True)
class WorkerId:
    """`queue.slot`; slots count from 1."""

    queue: str
    slot: int

    def __str__(self) -> str:
        return f"{self.queue}.{self.slot}"

    @classmethod
    def parse(cls, text: str) -> WorkerId:
        """The inverse of `str`. Raises ValueError where `text` does not end in a dot and a slot number."""
        queue, _, slot = text.rpartition(".")
        if not queue or not slot.isdecimal():
            raise ValueError(f"not a worker id: {text!r}")
        return cls(queue, int(slot))


def filled_in(text: str, worker: WorkerId) -> str:
    """`text` with `{queue}` and `{slot}` of `worker`; `{{` stands for a brace."""
    values = {"{{": "{", "{queue}": worker.queue, "{slot}": str(worker.slot)}
    return _PLACEHOLDER.sub(lambda found: values[found[0]], text)
