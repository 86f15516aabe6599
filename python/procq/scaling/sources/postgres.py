"""PostgreSQL: queries of people, and those that presets make, in transactions that cannot write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from procq.scaling.reading import Reading
from procq.scaling.sources import queries
from procq.scaling.sources.port import Kind, SourceError
from procq.scaling.url import split

if TYPE_CHECKING:
    from procq.scaling.place import Place

_ROWS: Final = 2
"""More than are wanted, by one."""


def connect(place: Place, timeout: float) -> PostgresConnection:
    """For all queues in this database."""
    return PostgresConnection(place.server, timeout)


class PostgresConnection:
    """One database. `timeout` in seconds, for connecting and for each query: the server ends what takes longer."""

    def __init__(self, server: str, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._connection: psycopg.Connection[Mapping[str, Any]] | None = None

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        """One result for each place. Raises SourceError where the server cannot be asked."""
        try:
            if self._connection is not None:
                # It may have been closed since the last reading, by the server or by something in between.
                with suppress(psycopg.OperationalError):
                    return self._read_all(self._connection, places, within)
                self.close()
            self._connection = self._open()
            return self._read_all(self._connection, places, within)
        except (psycopg.Error, OSError) as error:
            self.close()
            raise _whole_server(error, places[0], self._timeout) from error

    def close(self) -> None:
        """Closes the connection; the next reading opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> psycopg.Connection[Mapping[str, Any]]:
        seconds = max(2, math.ceil(self._timeout))  # libpq takes less than 2 for 2
        settings = {
            "connect_timeout": seconds,
            "fallback_application_name": "procq",
            **{"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3},
            "tcp_user_timeout": (seconds + 1) * 1000,
            **_settings(self._server),
        }
        connection = psycopg.Connection[Mapping[str, Any]].connect(**settings, row_factory=dict_row)
        connection.read_only = True
        # What reads the first rows once a second gains nothing from statements that the server keeps.
        connection.prepare_threshold = None
        return connection

    def _read_all(
        self, connection: psycopg.Connection[Mapping[str, Any]], places: Sequence[Place], within: float
    ) -> Sequence[Reading | SourceError]:
        return [self._read(connection, place, within) for place in places]

    def _read(
        self, connection: psycopg.Connection[Mapping[str, Any]], place: Place, within: float
    ) -> Reading | SourceError:
        question = queries.postgres(place, within)
        try:
            with connection.transaction(), connection.cursor() as cursor:
                limit = sql.SQL("SET LOCAL statement_timeout = {}").format(round(self._timeout * 1000))
                cursor.execute(limit)
                # In binary: that is the way in which a query cannot be several, one of which ends the transaction.
                cursor.execute(question.text.encode(), question.values or None, binary=True)
                rows = cursor.fetchmany(_ROWS) if cursor.description else []
        except psycopg.Error as error:
            if connection.closed or isinstance(error, errors.AdminShutdown):
                raise
            return _wrong_query(error, place, self._timeout)
        finally:
            if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.rollback()
        return queries.reading(rows, place)


def _settings(server: str) -> dict[str, Any]:
    url = split(server)
    found: dict[str, Any] = {
        "host": url.address or None,
        "port": url.port.text if url.port else None,
        "user": url.user.text if url.user else None,
        "password": url.password.text if url.password else None,
        "dbname": unquote(url.raw(url.path)[1:]) or None,
    }
    return {name: value for name, value in {**found, **url.options}.items() if value is not None}


def _wrong_query(error: psycopg.Error, place: Place, timeout: float) -> SourceError:
    said = _first_line(error)
    if isinstance(error, errors.QueryCanceled):
        return SourceError(Kind.TIMEOUT, f"{place.shown}: the query has taken longer than {timeout:g} s")
    if isinstance(error, errors.InsufficientPrivilege):
        return SourceError(Kind.AUTH, f"{place.shown}: this user may not read that: {said}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return SourceError(Kind.OTHER, f"{place.shown}: a query that reads a queue must not write: {said}")
    if isinstance(error, errors.UndefinedTable) and place.preset != "sql":
        message = f"{place.shown}: there are no tables of {place.preset} in this database: {said}"
        return SourceError(Kind.GARBAGE, message)
    return SourceError(Kind.OTHER, f"{place.shown}: PostgreSQL says {said}")


def _whole_server(error: Exception, place: Place, timeout: float) -> SourceError:
    text, where = _first_line(error), place.where
    if isinstance(error, psycopg.errors.ConnectionTimeout) or "timeout" in text or isinstance(error, TimeoutError):
        return SourceError(Kind.TIMEOUT, f"{where}: PostgreSQL has not answered within {timeout:g} s")
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith("28") or any(
        word in text for word in ("authentication failed", "no password", "pg_hba", 'role "')
    ):
        return SourceError(Kind.AUTH, f"{where}: PostgreSQL does not let this user in: {text}")
    if any(word in text for word in ("invalid response", "unexpected response", "expected authentication request")):
        return SourceError(Kind.GARBAGE, f"{where}: what answers there is not PostgreSQL")
    kind = Kind.REFUSED if isinstance(error, psycopg.OperationalError | OSError) else Kind.OTHER
    return SourceError(kind, f"{where}: no answer from PostgreSQL: {text}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
