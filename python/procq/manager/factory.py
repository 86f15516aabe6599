"""Options from templates: one line for all queues of an application, and the libraries that procq knows."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Self, Unpack

from procq.errors import did_you_mean
from procq.manager.options import Changes, WorkerOptions
from procq.manifest import command as commands
from procq.manifest.units import Refused
from procq.model import StopPolicy

__all__ = ["WorkerFactory"]

_HOLE: Final = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "fish"})
_SIDEKIQ_MARGIN: Final = 5.0


class WorkerFactory:
    """Makes `WorkerOptions` for queue after queue.

    `template` is a command: text that is split into words like a command in a manifest (no shell runs, `${NAME}` comes
    from the environment), or a list of words. `{queue}` stands for the queue, other placeholders for what `values`
    say; `{{` and `}}` are braces. They are filled in after the splitting, in the command and in the values of `env`:
    whatever a value holds, it stays one word, and it cannot become an option or a part of a shell's script.
    `defaults` are fields of `WorkerOptions`. Raises ValueError for a template that cannot be, TypeError for options
    that are none.
    """

    def __init__(
        self, template: str | Sequence[str], values: Mapping[str, str] | None = None, **defaults: Unpack[Changes]
    ) -> None:
        self._words = _split(template) if isinstance(template, str) else tuple(template)
        self._values = dict(values or {})
        # Tells of mistakes here, and not when the first queue comes.
        self._options = WorkerOptions(self._words, **defaults)
        self._holes = {*_holes(self._words), *_holes(self._options.env.values())}
        _check_scripts(self._words)
        self._check_used(self._values)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that have to be given a value; `queue` gets it from the call."""
        return frozenset(self._holes - self._values.keys())

    def __call__(
        self, queue: str, values: Mapping[str, str] | None = None, **changes: Unpack[Changes]
    ) -> WorkerOptions:
        """Options of the workers of `queue`. Raises ValueError for a value that is missing, not used, or dangerous."""
        self._check_used(values or {})
        known = {**self._values, **(values or {}), "queue": queue}
        words = [_fill(word, known) for word in self._words]
        for word, template in zip(words[1:], self._words[1:], strict=True):
            if template == "--":
                break
            if word.startswith("-") and not template.startswith("-"):
                raise ValueError(
                    f'"{word}" would be taken for an option; join it to one in the template, as in --queue={{queue}}'
                )
        env = {name: _fill(value, known) for name, value in self._options.env.items()}
        return replace(self._options, command=words, env=env).replace(**changes)

    def _check_used(self, values: Mapping[str, str]) -> None:
        for name in values:
            if name == "queue":
                raise ValueError("the queue is given by the call, as in factory('emails')")
            if name not in self._holes:
                hint = did_you_mean(name, self._holes, f"placeholders are {', '.join(sorted(self._holes)) or 'absent'}")
                raise ValueError(f'nothing in "{shlex.join(self._words)}" is called "{name}": {hint}')

    # --- libraries ----------------------------------------------------------------------------------------------

    @classmethod
    def celery(cls, app: str, *, concurrency: int = 1, grace: float = 60.0, **defaults: Unpack[Changes]) -> Self:
        """`celery worker`: on TERM it takes no more tasks, finishes those in hand, and leaves.

        `app` is what follows `-A`. Each worker is a node named after itself. `grace` (seconds) has to be longer than
        the longest task.
        """
        # A shell that Celery replaces, because only there the name of the worker is known. Values are its arguments.
        script = 'exec celery -A "$1" worker -Q "$2" -c "$3" -n "$PROCQ_WORKER_ID@%h"'
        template = ["/bin/sh", "-c", script, "celery", "{app}", "{queue}", str(concurrency)]
        return cls(template, {"app": app}, **_stopping(signal.SIGTERM, grace, defaults))

    @classmethod
    def rq(cls, *, url: str | None = None, grace: float = 60.0, **defaults: Unpack[Changes]) -> Self:
        """`rq worker`: on TERM the job in hand is finished (warm shutdown).

        `url` is that of Redis; without, RQ's own settings are used. `grace` (seconds) has to be longer than the
        longest job.
        """
        template = ["rq", "worker", *(() if url is None else ("--url={url}",)), "{queue}"]
        return cls(template, None if url is None else {"url": url}, **_stopping(signal.SIGTERM, grace, defaults))

    @classmethod
    def huey(cls, *, threads: int = 1, grace: float = 60.0, **defaults: Unpack[Changes]) -> Self:
        """`huey_consumer`: on INT tasks in hand are finished; TERM would interrupt them.

        A queue is an instance of Huey, by its path: `factory("shop.tasks.huey")`. `grace` (seconds) has to be longer
        than the longest task.
        """
        template = ["huey_consumer", "{queue}", f"--workers={threads}"]
        return cls(template, **_stopping(signal.SIGINT, grace, defaults))

    @classmethod
    def dramatiq(
        cls, module: str, *, processes: int = 1, threads: int = 8, grace: float = 60.0, **defaults: Unpack[Changes]
    ) -> Self:
        """`dramatiq`: on TERM it passes that on to its processes, and messages in hand are finished.

        `module` is the one with the broker. `grace` (seconds) has to be longer than the longest message takes.
        """
        sizes = (f"--processes={processes}", f"--threads={threads}")
        template = ["dramatiq", "{module}", *sizes, "--queues", "{queue}"]
        return cls(template, {"module": module}, **_stopping(signal.SIGTERM, grace, defaults))

    @classmethod
    def laravel(
        cls,
        *,
        artisan: str = "artisan",
        connection: str | None = None,
        grace: float = 90.0,
        **defaults: Unpack[Changes],
    ) -> Self:
        """`php artisan queue:work`: on TERM the job in hand is finished (PHP needs its extension pcntl for that).

        `connection` is one of the application's, its default without. `grace` (seconds) has to be longer than the
        longest job; Laravel itself ends one after 60 seconds unless `--timeout` or the job says otherwise.
        """
        named, values = (["{connection}"], {"connection": connection}) if connection is not None else ([], {})
        template = ["php", "{artisan}", "queue:work", *named, "--queue={queue}"]
        return cls(template, {"artisan": artisan, **values}, **_stopping(signal.SIGTERM, grace, defaults))

    @classmethod
    def sidekiq(cls, *, concurrency: int = 1, grace: float = 60.0, **defaults: Unpack[Changes]) -> Self:
        """`bundle exec sidekiq`: on TERM it takes no more jobs and finishes those in hand.

        What is not finished 5 seconds before the end of `grace` (seconds, more than 5), Sidekiq puts back into Redis.
        """
        if grace <= _SIDEKIQ_MARGIN:
            raise ValueError(f"the grace period of Sidekiq is more than {_SIDEKIQ_MARGIN:g} s, not {grace:g}")
        timeout = int(grace - _SIDEKIQ_MARGIN)
        template = ["bundle", "exec", "sidekiq", "-c", str(concurrency), "-t", str(timeout), "-q", "{queue}"]
        return cls(template, **_stopping(signal.SIGTERM, grace, defaults))


def _stopping(number: int, grace: float, defaults: Changes) -> Changes:
    """`defaults`, with the stop policy of a library where they have none."""
    return {"stop": StopPolicy(number, grace), **defaults}


def _split(template: str) -> tuple[str, ...]:
    try:
        return commands.words(template, os.environ)
    except Refused as refused:
        raise ValueError(f'"{template}": {refused.message}; {refused.expected}') from None


def _holes(texts: Iterable[str]) -> set[str]:
    found = set()
    for text in texts:
        found |= {hole[1] for hole in _HOLE.finditer(text) if hole[1]}
        if stray := re.search("[{}]", _HOLE.sub("", text)):
            raise ValueError(f'"{text}": a {stray[0]} that is meant as it is, is written twice')
    return found


def _check_scripts(words: Sequence[str]) -> None:
    """What a shell reads as its script must not have holes: a value would be a program."""
    for place, word in enumerate(words):
        if os.path.basename(word) not in _SHELLS:
            continue
        option = next((n for n in range(place + 1, len(words)) if not words[n].startswith("-") or "c" in words[n]), 0)
        script = words[option + 1] if option and words[option].startswith("-") and option + 1 < len(words) else ""
        if _holes([script]):
            safe = [*words[: option + 1], 'rq worker "$1"', word, "{queue}"]
            raise ValueError(
                f'"{script}" is a script, and the shell would run what a value holds; give it as an argument: {safe}'
            )


def _fill(text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0][0]
        if name not in values:
            hint = f"values={{{name!r}: …}}"
            raise ValueError(f'nothing says what "{{{name}}}" is: give the factory or the call {hint}')
        given = values[name]
        if not isinstance(given, str):
            raise TypeError(f'the value of "{{{name}}}" is text, not {type(given).__name__}')
        return given

    return _HOLE.sub(value, text)
