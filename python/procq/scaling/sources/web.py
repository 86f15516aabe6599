"""HTTP: numbers in JSON, and instant queries to Prometheus."""

from __future__ import annotations

import json
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from procq.scaling.reading import Reading
from procq.scaling.sources.each import read_each
from procq.scaling.sources.jobs import number_in, reading_in, shortened
from procq.scaling.sources.port import Kind, SourceError
from procq.scaling.url import Url, split

if TYPE_CHECKING:
    from procq.scaling.place import Place

_MOST: Final = 1 << 20
"""Bytes of an answer."""
_PIECE: Final = 64 << 10
_GOOD: Final = range(200, 300)
_ELSEWHERE: Final = range(300, 400)
_LOCKED: Final = (401, 403)


def connect(place: Place, timeout: float) -> WebConnection:
    """For all that this URL, or this Prometheus, can say."""
    return WebConnection(place.server, timeout)


class WebConnection:
    """One URL, or one Prometheus. `timeout` in seconds, for connecting and for each part of the answer.

    Proxies of the environment are not used, and nothing is followed to another place: passwords go where they belong.
    """

    def __init__(self, server: str, timeout: float) -> None:
        self._url = split(server)
        self._timeout = timeout

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        """One result for each place. A page is fetched once for all that is to be read from it."""
        if places[0].preset == "prometheus":
            return read_each(places, self._query)
        page = self._get(self._target(), places[0])
        return read_each(places, lambda place: _reading(page, place))

    def close(self) -> None:
        """Nothing is open between readings."""

    def _target(self) -> str:
        url = self._url
        query = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in url.options.items())
        return f"{quote(url.path.text) or '/'}{'?' if query else ''}{query}"

    def _query(self, place: Place) -> Reading:
        base = quote(self._url.path.text.rstrip("/"))
        target = f"{base}/api/v1/query?query={quote(place.options['query'], safe='')}"
        return Reading(_sample(self._get(target, place), place))

    def _get(self, target: str, place: Place) -> Any:
        connection = _connection(self._url, self._timeout)
        try:
            connection.request("GET", target, headers=_headers(self._url))
            # Not closed with the connection, and not at its end either where that was not reached.
            with connection.getresponse() as answer:
                body = _body(answer, time.monotonic() + self._timeout)
        except (OSError, HTTPException, ValueError) as error:
            raise _unreachable(error, place, self._timeout) from error
        finally:
            connection.close()
        _check(answer.status, answer.getheader("Location"), body, place)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            message = f"{place.where} has not answered in JSON, but with {shortened(body[:60])}"
            raise SourceError(Kind.GARBAGE, message) from error


def _connection(url: Url, timeout: float) -> HTTPConnection:
    if url.scheme.text == "https":
        return HTTPSConnection(url.address, url.port_or(443), timeout=timeout, context=ssl.create_default_context())
    return HTTPConnection(url.address, url.port_or(80), timeout=timeout)


def _body(answer: HTTPResponse, deadline: float) -> bytes:
    """What is answered, up to a bound. Who sends it drop by drop is not waited for."""
    body = b""
    while len(body) <= _MOST and (piece := answer.read1(_PIECE)):
        body += piece
        if time.monotonic() > deadline:
            raise TimeoutError
    return body


def _headers(url: Url) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": "procq", "Connection": "close"}
    if url.user is not None or url.password is not None:
        pair = f"{url.user.text if url.user else ''}:{url.password.text if url.password else ''}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return headers


def _check(status: int, location: str | None, body: bytes, place: Place) -> None:
    """Raises SourceError where the answer is no answer. Prometheus explains itself in JSON, with a status of 4xx."""
    if status in _LOCKED:
        raise SourceError(Kind.AUTH, f"{place.where} wants a user and a password, or other ones: it answers {status}")
    if status in _ELSEWHERE:
        raise SourceError(Kind.OTHER, f"{place.where} answers {status}: write the URL where it is now, {location}")
    explained = place.preset == "prometheus" and body.startswith(b"{")
    if status not in _GOOD and not explained:
        raise SourceError(Kind.OTHER, f"{place.where} answers {status}")
    if len(body) > _MOST:
        raise SourceError(Kind.GARBAGE, f"{place.where} answers with more than {_MOST >> 20} MiB")


def _unreachable(error: Exception, place: Place, timeout: float) -> SourceError:
    where = place.where
    if isinstance(error, TimeoutError):
        return SourceError(Kind.TIMEOUT, f"{where} has not answered within {timeout:g} s")
    if isinstance(error, HTTPException | ValueError):
        return SourceError(Kind.GARBAGE, f"{where}: what answers there does not speak HTTP ({type(error).__name__})")
    if isinstance(error, ssl.SSLError):
        return SourceError(Kind.OTHER, f"{where}: the encryption fails: {error}")
    return SourceError(Kind.REFUSED, f"{where}: no connection: {error}. Is it running, and are host and port right?")


def _reading(page: Any, place: Place) -> Reading:
    return reading_in(_at(page, place.options.get("pointer", ""), place), place.shown)


def _at(page: Any, pointer: str, place: Place) -> Any:
    """What a JSON Pointer names."""
    found = page
    for raw in pointer.split("/")[1:]:
        step = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            there = f"; there are {', '.join(map(str, list(found)[:8]))}" if isinstance(found, Mapping) else ""
            raise SourceError(Kind.GARBAGE, f'{place.shown}: nothing is called "{step}" in the answer{there}')
    return found


def _sample(page: Any, place: Place) -> float:
    """The one value of an answer of Prometheus."""
    data = page.get("data") if isinstance(page, Mapping) else None
    if not isinstance(data, Mapping):
        said = page.get("error") if isinstance(page, Mapping) else None
        what = f"Prometheus says {said}" if said else "what answers there is not Prometheus"
        raise SourceError(Kind.OTHER if said else Kind.GARBAGE, f"{place.shown}: {what}")
    result = data.get("result")
    if data.get("resultType") == "vector" and isinstance(result, list):
        if len(result) != 1:
            what = (
                "has no result; nothing is measured under this name"
                if not result
                else "has several results: write sum(…)"
            )
            raise SourceError(Kind.GARBAGE, f"{place.shown}: the query {what}")
        result = result[0].get("value") if isinstance(result[0], Mapping) else None
    value = number_in(result[1]) if isinstance(result, list) and len(result) == 2 else None
    if value is None:
        raise SourceError(Kind.GARBAGE, f"{place.shown}: the query finds {shortened(result)}, where a number belongs")
    return value
