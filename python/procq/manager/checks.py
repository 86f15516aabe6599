"""What cannot be said about a worker: the rules of a manifest, for values."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from procq.errors import did_you_mean
from procq.manifest.units import LIMITS
from procq.model import MAX_WORKERS, MOST_FAILURES, Limit, LogPolicy, RestartPolicy, Share, StopPolicy, UpdatePolicy

if TYPE_CHECKING:
    from procq.manager.options import WorkerOptions

_SIGNALS: Final = signal.valid_signals()
_LEAST_ROTATED: Final = 4096
_LEAST_AGE: Final = 60
_MOST_KEPT: Final = 1_000
_OWN: Final = "PROCQ_"


def check(options: WorkerOptions) -> None:
    """Raises TypeError or ValueError for the first thing that cannot be."""
    _check_texts(options)
    _check_numbers(options)
    _check_limits(options.rlimits)
    _check_kinds(options)
    _check_stop_and_restart(options.stop, options.restart)
    _check_update(options.update)
    _check_logs(options.logs)


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
        if variable.startswith(_OWN):
            raise ValueError(f'"{variable}" is set by procq itself: choose a name that does not begin with {_OWN}')


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
        if name == "locks":
            raise ValueError('the limit "locks" is used by procq itself to find all processes of a worker')
        if name not in LIMITS:
            hint = did_you_mean(name, LIMITS, f"use one of {', '.join(LIMITS)}")
            raise ValueError(f'"{name}" is no resource limit: {hint}')
        soft, hard = (limit, limit) if isinstance(limit, int) else (limit.soft, limit.hard)
        if any(value is not None and value < 0 for value in (soft, hard)):
            raise ValueError(f"the limit {name} is below 0; Limit(None, None) is no limit")
        if hard is not None and (soft is None or soft > hard):
            raise ValueError(f"the soft limit {name} is above the hard one")


def _check_kinds(options: WorkerOptions) -> None:
    kinds = {"stop": StopPolicy, "restart": RestartPolicy, "update": UpdatePolicy, "logs": LogPolicy}
    for name, kind in kinds.items():
        value = getattr(options, name)
        if not isinstance(value, kind):
            raise TypeError(f"{name} is a {kind.__name__}, not {type(value).__name__}")


def _check_stop_and_restart(stop: StopPolicy, restart: RestartPolicy) -> None:
    if stop.signal not in _SIGNALS:
        raise ValueError(f"there is no signal {stop.signal}; use one of signal.Signals")
    _check_seconds("the grace period", stop.grace)
    backoff, give_up = restart.backoff, restart.give_up
    _check_seconds("the longest backoff", backoff.maximum)
    if not 0 < backoff.initial <= backoff.maximum:
        raise ValueError(
            f"the first backoff is more than 0 s and not longer than the longest ({backoff.maximum} s), "
            f"not {backoff.initial}"
        )
    if give_up is not None:
        _check_seconds("the time for giving up", give_up.within)
        if not 1 <= give_up.failures <= MOST_FAILURES or not give_up.within:
            raise ValueError(f"giving up takes 1 to {MOST_FAILURES} failures, within a time of more than 0 s")


def _check_update(update: UpdatePolicy) -> None:
    _check_seconds("the pause of an update", update.pause)
    _check_share("surge", update.surge, 0)
    _check_share("batch", update.batch, 1)


def _check_share(name: str, share: Share, least: int) -> None:
    most = 100 if share.percent else MAX_WORKERS
    if not least <= share.number <= most:
        of = "%" if share.percent else " workers"
        raise ValueError(f"the {name} of an update is between {least} and {most}{of}, not {share.number}")


def _check_logs(logs: LogPolicy) -> None:
    if logs.rotate is not None and logs.rotate < _LEAST_ROTATED:
        raise ValueError(
            f"a log file is rotated at {_LEAST_ROTATED} bytes or more, not at {logs.rotate}; None is never"
        )
    if logs.rotate_every is not None and not _LEAST_AGE <= logs.rotate_every < math.inf:
        raise ValueError(f"a log file is closed at an age of {_LEAST_AGE} s or more, not at {logs.rotate_every}")
    if logs.total is not None and logs.total < max(4 * _LEAST_ROTATED, 2 * (logs.rotate or 0)):
        raise ValueError(f"a log and its closed files take at least twice `rotate` and 16 KiB, not {logs.total} bytes")
    if not 0 <= logs.keep <= _MOST_KEPT:
        raise ValueError(f"between 0 and {_MOST_KEPT} closed log files are kept, not {logs.keep}")
    if logs.otlp:
        raise ValueError("output is sent as telemetry by `procq up` and not by a manager: read it with `worker.output`")


def _check_seconds(what: str, seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{what} is a number of seconds from 0 on, not {seconds}")
