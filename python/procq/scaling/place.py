"""Where a queue's length is read: the URL that a manifest names, taken apart. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Final
from urllib.parse import quote

from procq.errors import did_you_mean
from procq.scaling.presets import PRESETS, QUEUE, SERVERS, Parameter, Preset, Server
from procq.scaling.url import Url, Word, split

__all__ = ["GROUP", "PRESETS", "BadPlace", "Place", "parse", "plugged"]

GROUP: Final = "procq.sources"
"""The entry point group of sources that others have written; their names are schemes."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SECRET: Final = re.compile(r"pass|secret|token|key$|auth|credential|signature", re.IGNORECASE)
_HIDDEN: Final = "***"
_PORTS: Final = 65_535
_SERVERS: Final = {"rediss": "redis", "unix": "redis", "amqps": "amqp", "postgres": "postgresql"}
"""What else people call a kind of server."""


@dataclass(frozen=True, slots=True)
class Place:
    """One queue at one server.

    `server` is equal for all queues that can be read over one connection, and may hold a password; `options` are
    parameters of the preset other than `queue`. `shown` is for people: the URL without its secrets.
    """

    preset: str
    server: str = field(repr=False)
    queue: str
    options: Mapping[str, str] = field(hash=False, repr=False)
    shown: str

    @property
    def where(self) -> str:
        """The server, for people: without what tells one of its queues from another."""
        return self.shown if self.preset == "exec" else self.shown.partition("?")[0]


class BadPlace(ValueError):
    """A URL that means no queue. `place` is which characters of it are wrong, from and up to."""

    def __init__(self, message: str, place: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.place = place


def parse(url: str, queue: str) -> Place:
    """What `url` means for the queue that is called `queue` here. Raises BadPlace."""
    found = _SCHEME.match(url)
    if found is None:
        raise BadPlace(f'this is no URL: write one such as "{PRESETS["rq"].example}"', (0, len(url)))
    scheme = found[1].lower()
    if scheme == "exec":
        return _command(url, queue)
    parts = split(url)
    for name, preset in PRESETS.items():
        if scheme in preset.schemes:
            return _built_in(parts, name, preset, preset.schemes[scheme], queue)
    if scheme in plugged():
        return _plugged(parts, scheme, queue)
    raise BadPlace(_unknown(scheme), parts.scheme.span)


@cache
def plugged() -> frozenset[str]:
    """The schemes that others have written and installed. None of them is imported."""
    return frozenset(each.name for each in entry_points(group=GROUP))


# --- what is built in -----------------------------------------------------------------------------------------------


def _built_in(url: Url, name: str, preset: Preset, kind: str, queue: str) -> Place:
    server = SERVERS[kind]
    open_ended = name == "http"  # what is not ours is the server's
    # A server of HTTP may well have a `queue` of its own.
    own = dict(preset.parameters) if open_ended else {"queue": QUEUE, **preset.parameters}
    options: dict[str, str] = {}
    connection: dict[str, str] = {}
    secrets: list[Word] = []
    known = own | dict(server.parameters)
    for word, value in url.parameters:
        _check_parameter(word, options | connection, {} if open_ended else known)
        _check_value(word, value, known.get(word.text))
        (options if word.text in own else connection)[word.text] = value.text
        if _is_secret(word.text, server.parameters.get(word.text)):
            secrets.append(value)
    for missing, parameter in own.items():
        if parameter.required and missing not in options:
            raise BadPlace(f'the parameter "{missing}" is missing: {parameter.about}; {_such_as(preset)}')
    _check_server(url, server, preset)
    at = options.pop("queue", queue)
    if not at:
        raise BadPlace('"queue" is empty: leave it out to use the name of the queue here')
    return Place(name, _server(url, kind, server, connection), at, options, _hiding(url, secrets))


def _check_parameter(word: Word, before: Mapping[str, str], known: Mapping[str, Parameter]) -> None:
    if word.text in before:
        raise BadPlace(f'"{word.text}" stands there twice', word.span)
    if known and word.text not in known:
        choices = f"these are known: {', '.join(known)}"
        raise BadPlace(f'unknown parameter "{word.text}": {did_you_mean(word.text, known, choices)}', word.span)


def _check_value(word: Word, value: Word, parameter: Parameter | None) -> None:
    if parameter is None or parameter.pattern is None or re.fullmatch(parameter.pattern, value.text):
        return
    example = f', as in "{word.text}={parameter.example}"' if parameter.example else ""
    raise BadPlace(f'"{value.text}" is no "{word.text}": that is {parameter.about}{example}', value.span)


def _check_server(url: Url, server: Server, preset: Preset) -> None:
    if server.host and not url.host.text:
        raise BadPlace(f"there is no host: {_such_as(preset)}", (url.scheme.end, url.path.begin))
    if server.path and url.authority.text:
        slashes = f'write "{url.scheme.text}:///{url.authority.text}{url.path.text}"'
        raise BadPlace(f"a path begins with three slashes: {slashes}", url.authority.span)
    if server.path and not url.path.text.startswith("/"):
        raise BadPlace(f'the path must be absolute: write "{url.scheme.text}:///…"', url.path.span)
    if server.database and not re.fullmatch(r"/?[0-9]*", url.path.text):
        message = 'after the host there is only the number of a database, such as "/0"'
        raise BadPlace(f'{message}; the queue is named by "?queue="', url.path.span)
    if url.port is not None and not (url.port.text.isdecimal() and 0 < int(url.port.text) <= _PORTS):
        raise BadPlace(f'"{url.port.text}" is no port: it is a number up to {_PORTS}', url.port.span)


def _server(url: Url, kind: str, server: Server, connection: Mapping[str, str]) -> str:
    path = url.raw(url.path)
    if server.database:
        path = f"/{int(path.strip('/') or '0')}"
    query = "&".join(f"{quote(name)}={quote(value, safe='/:')}" for name, value in connection.items())
    return f"{kind}://{url.authority.text}{path}{'?' if query else ''}{query}"


def _such_as(preset: Preset) -> str:
    return f'write it as in "{preset.example}"'


# --- what is not ----------------------------------------------------------------------------------------------------


def _command(url: str, queue: str) -> Place:
    if not url[5:].strip():
        raise BadPlace(f"there is no command: {_such_as(PRESETS['exec'])}", (0, len(url)))
    # What follows the program may be anything, a password among it.
    program, *words = url[5:].split(maxsplit=1)
    return Place("exec", f"exec:{url[5:]}", queue, {}, f"exec:{program} …" if words else f"exec:{program}")


def _plugged(url: Url, scheme: str, queue: str) -> Place:
    options = {word.text: value.text for word, value in url.parameters}
    secrets = [value for word, value in url.parameters if _is_secret(word.text, None)]
    at = options.pop("queue", queue)
    return Place(scheme, url.whole.partition("?")[0], at, options, _hiding(url, secrets))


def _unknown(scheme: str) -> str:
    known = [each for preset in PRESETS.values() for each in preset.schemes]
    plain = [name for name in known if not name.endswith(("+rediss", "+amqps", "+unix", "+postgres"))]
    longer = [name for name in plain if name.startswith(f"{scheme}+")]
    if longer:
        return f'"{scheme}" alone does not say where it keeps its queues: write {_or(longer)}'
    ends = sorted(name for name in plain if name.endswith(f"+{_SERVERS.get(scheme, scheme)}"))
    if ends:
        return f'"{scheme}" alone does not say whose queue it is: write {_or(ends)}'
    every = f"these are known: {', '.join(sorted([*PRESETS, *plugged()]))}"
    return f'unknown kind of source "{scheme}": {did_you_mean(scheme, [*known, *plugged()], every)}'


def _or(names: list[str]) -> str:
    return " or ".join(f'"{name}://"' for name in names)


def _is_secret(name: str, parameter: Parameter | None) -> bool:
    return _SECRET.search(name) is not None if parameter is None else parameter.secret


def _hiding(url: Url, secrets: list[Word]) -> str:
    """The URL without its password, and without these."""
    shown = url.whole
    hidden = [*secrets, *([] if url.password is None else [url.password])]
    for word in sorted(hidden, key=lambda word: -word.begin):
        shown = shown[: word.begin] + _HIDDEN + shown[word.end :]
    return shown
