"""RabbitMQ: asks how many messages are ready, without declaring anything."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pika
from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException, AMQPConnectorStackTimeout

from procq.scaling.reading import Reading
from procq.scaling.sources.port import Kind, SourceError
from procq.scaling.url import split

if TYPE_CHECKING:
    from procq.scaling.place import Place

# It would tell of each failure itself, several times; we tell of it in our own words.
logging.getLogger("pika").setLevel(logging.CRITICAL)

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_HEARTBEAT: Final = 15
"""Seconds after which a server that is gone without a word is given up; readings are more frequent than that."""
_CLOSED: Final = (exceptions.ConnectionClosed, exceptions.StreamLostError, exceptions.ConnectionWrongStateError)
_NOT_FOUND: Final = 404
_REFUSED: Final = 403


def connect(place: Place, timeout: float) -> AmqpConnection:
    """For all queues of this virtual host."""
    return AmqpConnection(place.server, timeout)


class AmqpConnection:
    """One virtual host of RabbitMQ. `timeout` in seconds, for connecting and for each answer."""

    def __init__(self, server: str, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._connection: Any = None
        self._channel: Any = None

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        """One result for each place. Raises SourceError where the server cannot be asked."""
        try:
            if self._connection is not None:
                # It may have been closed since the last reading, by the server or by something in between.
                with suppress(*_CLOSED):
                    return [self._read(place) for place in places]
                self.close()
            self._connection = pika.BlockingConnection(_parameters(self._server, self._timeout))
            return [self._read(place) for place in places]
        except (exceptions.AMQPError, AMQPConnectorException, OSError) as error:
            self.close()
            raise _whole_server(error, places[0], self._timeout) from error

    def close(self) -> None:
        """Closes the connection; the next reading opens another."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            with suppress(exceptions.AMQPError, OSError):  # closed all the same
                connection.close()

    def _read(self, place: Place) -> Reading | SourceError:
        try:
            waiting = self._ready(place.queue)
            delayed = self._ready(f"{place.queue}.DQ") if place.preset == "dramatiq+amqp" else None
        except exceptions.ChannelClosedByBroker as error:
            kind = Kind.AUTH if error.reply_code == _REFUSED else Kind.OTHER
            return SourceError(kind, f"{place.shown}: RabbitMQ says {error.reply_text}")
        return Reading(waiting, delayed=delayed)

    def _ready(self, queue: str) -> int:
        """How many messages are ready; none where nobody has declared the queue yet, as then nobody can send any."""
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
        try:
            return int(self._channel.queue_declare(queue, passive=True).method.message_count)
        except exceptions.ChannelClosedByBroker as error:
            if error.reply_code == _NOT_FOUND:
                return 0
            raise


def _parameters(server: str, timeout: float) -> Any:
    url = split(server)
    authority = url.options.get("ssl_ca_certs")
    options = None
    if url.scheme.text == "amqps":
        options = pika.SSLOptions(ssl.create_default_context(cafile=authority), url.address)
    user = url.user.text if url.user else "guest"
    return pika.ConnectionParameters(
        host=url.address,
        port=url.port_or(_PORTS[url.scheme.text]),
        # "" and "/" are both the one that every server has, as Celery and others take them.
        virtual_host=unquote(url.raw(url.path)[1:]) or "/",
        credentials=pika.PlainCredentials(user, url.password.text if url.password else "guest"),
        ssl_options=options,
        heartbeat=_HEARTBEAT,
        connection_attempts=1,
        socket_timeout=timeout,
        stack_timeout=timeout,
        blocked_connection_timeout=timeout,
        client_properties={"connection_name": "procq"},
    )


def _whole_server(error: Exception, place: Place, timeout: float) -> SourceError:
    where = place.where
    match _cause(error):
        case exceptions.AuthenticationError() | exceptions.ProbableAuthenticationError():
            return SourceError(Kind.AUTH, f"{where}: RabbitMQ wants another user or password than in the URL")
        case exceptions.ProbableAccessDeniedError() | exceptions.ConnectionClosedByBroker() as found:
            return SourceError(Kind.AUTH, f"{where}: RabbitMQ does not let this user in: {found}")
        case AMQPConnectorStackTimeout() | TimeoutError():
            return SourceError(Kind.TIMEOUT, f"{where}: RabbitMQ has not answered within {timeout:g} s")
        case exceptions.IncompatibleProtocolError() | exceptions.ProtocolSyntaxError():
            return SourceError(Kind.GARBAGE, f"{where}: what answers there is not RabbitMQ")
        case exceptions.AMQPConnectionError() | OSError() as found:
            message = f"{where}: no connection to RabbitMQ: {found!r} Is it running, and are host and port right?"
            return SourceError(Kind.REFUSED, message)
        case found:
            return SourceError(Kind.OTHER, f"{where}: {type(found).__name__}: {found}")


def _cause(error: BaseException) -> BaseException:
    """What lies below errors that say no more than that there is no connection."""
    below = [*error.args, getattr(error, "exception", None), *getattr(error, "exceptions", ())]
    for each in below:
        if isinstance(each, BaseException):
            return _cause(each)
    return error
