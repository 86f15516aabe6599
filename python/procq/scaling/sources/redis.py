"""Redis: the queues of all its presets, read in one pipelined round trip, two where ages need a second."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from procq.scaling.reading import Reading
from procq.scaling.sources.keys import Command, Moment, Recipe, said
from procq.scaling.sources.port import Kind, SourceError
from procq.scaling.sources.recipes import RECIPES
from procq.scaling.url import split

if TYPE_CHECKING:
    from procq.scaling.place import Place

_PORT: Final = 6379
_ROUNDS: Final = 3
"""The most round trips of one reading."""


def connect(place: Place, timeout: float) -> RedisConnection:
    """For all queues of this Redis, whatever their presets."""
    return RedisConnection(place.server, timeout)


@dataclass(slots=True)
class _Asked:
    """One place, how far its recipe has come, and what it asks next."""

    place: Place
    recipe: Recipe
    commands: Sequence[Command] = ()
    result: Reading | SourceError | None = None

    def begin(self) -> None:
        self.commands = next(self.recipe)

    def answer(self, replies: list[Any]) -> None:
        try:
            self.commands = self.recipe.send(replies)
        except StopIteration as end:
            self.commands, self.result = (), end.value
        except redis.RedisError as error:  # the answer to a command
            self.commands, self.result = (), _wrong_answer(error, self.place)
        except Exception as error:  # whatever other people's data may do to a recipe, it concerns this queue alone
            message = f"{self.place.shown}: what Redis holds there is not what {self.place.preset} writes: {error!r}"
            self.commands, self.result = (), SourceError(Kind.GARBAGE, message)


class RedisConnection:
    """One Redis. `server` is its URL; `timeout` in seconds, for connecting and for each answer.

    Commands are packed here: the library's pipelines take twice the time, and differ from version to version in what
    they make of replies.
    """

    def __init__(self, server: str, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._connection: Any | None = None
        self._ahead = 0.0
        """How far the server's clock is ahead of our monotonic one."""

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        """One result for each place. Raises SourceError where the server as a whole cannot be asked."""
        try:
            if self._connection is not None:
                # It may have been closed since the last reading, by the server or by something in between.
                with suppress(redis.ConnectionError):
                    return self._read(places, within)
                self.close()
            return self._read(places, within)
        except (redis.RedisError, OSError, ValueError) as error:
            self.close()
            raise _whole_server(error, places[0], self._timeout) from error

    def close(self) -> None:
        """Closes the connection; the next reading opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        connection = self._connection or self._open()
        moment = Moment(time.monotonic() + self._ahead, within)
        asked = [_Asked(place, RECIPES[place.preset](place, moment)) for place in places]
        for each in asked:
            each.begin()
        for _ in range(_ROUNDS):
            self._round([each for each in asked if each.commands], connection)
            if not any(each.commands for each in asked):
                break
        return [_result(each) for each in asked]

    def _open(self) -> Any:
        self._connection = _connection(self._server, self._timeout)
        self._connection.connect()
        self._round([], self._connection)
        return self._connection

    def _round(self, asked: list[_Asked], connection: Any) -> None:
        """One round trip, which also tells the server's time."""
        commands = [("TIME",), *(command for each in asked for command in each.commands)]
        connection.send_packed_command([b"".join(map(_packed, commands))], check_health=False)
        seconds, microseconds = said(_reply(connection))
        self._ahead = int(seconds) + int(microseconds) / 1e6 - time.monotonic()
        for each in asked:
            each.answer([_reply(connection) for _ in each.commands])


def _packed(command: Command) -> bytes:
    """A command as Redis takes it."""
    words = [word if isinstance(word, bytes) else _bytes(word) for word in command]
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def _bytes(word: str | float) -> bytes:
    # What was no text as it came from Redis goes back as it was.
    return word.encode(errors="surrogateescape") if isinstance(word, str) else repr(word).encode()


def _reply(connection: Any) -> Any:
    """The next reply; an error that it is, is returned."""
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _connection(server: str, timeout: float) -> Any:
    """The connection, not open yet. Taken apart here: messages of the library would quote passwords."""
    url = split(server)
    options = url.options
    settings: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "username": url.user.text if url.user else None,
        "password": url.password.text if url.password else options.pop("password", None),
    }
    if url.scheme.text == "unix":
        settings |= {"path": url.path.text, "db": int(options.pop("db", "0"))}
        del settings["socket_connect_timeout"]
        local: Any = redis.UnixDomainSocketConnection
        return local(**settings)
    settings |= {"host": url.address, "port": url.port_or(_PORT), "db": int(url.path.text[1:]), **options}
    kind: Any = redis.SSLConnection if url.scheme.text == "rediss" else redis.Connection
    return kind(**settings)


def _result(asked: _Asked) -> Reading | SourceError:
    assert asked.result is not None, f"{asked.place.preset} asks more than {_ROUNDS} times"
    return asked.result


def _wrong_answer(error: redis.RedisError, place: Place) -> SourceError:
    text = str(error)
    if isinstance(error, redis.exceptions.NoPermissionError):
        return SourceError(Kind.AUTH, f"{place.shown}: this user of Redis may not read that: {text}")
    if "WRONGTYPE" in text or "wrong kind of value" in text:
        message = f"{place.shown}: what Redis holds under this name was not written by {place.preset} ({text})"
        return SourceError(Kind.GARBAGE, f"{message}; look at the preset, the name of the queue, and the database")
    return SourceError(Kind.OTHER, f"{place.shown}: Redis says {text}")


_REFUSED: Final = "Is it running, and are host and port right?"


def _whole_server(error: Exception, place: Place, timeout: float) -> SourceError:
    where = place.where
    if _any(error, (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError)) or "NOAUTH" in str(
        error
    ):
        return SourceError(Kind.AUTH, f"{where}: Redis wants a user or a password, or other ones than in the URL")
    if _any(error, (redis.exceptions.NoPermissionError,)):
        return SourceError(Kind.AUTH, f"{where}: this user of Redis may not do that: {error}")
    if _any(error, (redis.exceptions.TimeoutError, TimeoutError)):
        return SourceError(Kind.TIMEOUT, f"{where}: Redis has not answered within {timeout:g} s")
    if _any(error, (redis.exceptions.InvalidResponse, UnicodeError)) or "Protocol Error" in str(error):
        return SourceError(Kind.GARBAGE, f"{where}: what answers there is not Redis")
    if _any(error, (redis.exceptions.ConnectionError, OSError)):
        return SourceError(Kind.REFUSED, f"{where}: no connection to Redis: {error} {_REFUSED}")
    return SourceError(Kind.OTHER, f"{where}: {type(error).__name__}: {error}")


def _any(error: BaseException, kinds: Iterable[type[BaseException]]) -> bool:
    """Whether it, or what it came from, is of one of these kinds."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, tuple(kinds)):
            return True
        found = found.__cause__ or found.__context__
    return False
