"""What stands under `exporter` in a configuration file: where something is sent, and how. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

from procq.telemetry.config import LONGEST, Batching, Compression, Endpoint, Means, Signal, Way
from procq.telemetry.fields import Fields

_PATHS: Final = "ca_file key_file cert_file"
_NUMBERS: Final = {"temporality_preference": "cumulative", "default_histogram_aggregation": "explicit_bucket_histogram"}
"""How numbers are sent: as they are kept, sums since the beginning and histograms with their own buckets."""
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def way(signal: Signal, owner: Fields, batching: Batching, bound: int = 0, interval: float = 60.0) -> Iterator[Way]:
    """The way out that the exporter of `owner` is; none where that is wrong, which is noted.

    `bound` is how many milliseconds an export may take, 0 for any time.
    """
    exporter = owner.required("exporter")
    found = None if exporter is None else owner.notes.one_of(exporter, tuple(Means), "exporter")
    if found is None:
        return
    means, node = Means(found[0]), found[1]
    keys = list(_NUMBERS) if signal is Signal.METRICS else []
    if means is not Means.CONSOLE:
        keys += ["endpoint", "tls", "headers", "headers_list", "compression", "timeout"]
    if means is Means.HTTP:
        keys.append("encoding")
    given = owner.notes.fields(node, " ".join(keys))
    for name, only in _NUMBERS.items():
        if given.text(name) not in (None, only):
            owner.notes.skip(given.entries[name])
    endpoint = None if means is Means.CONSOLE else _endpoint(signal, means is Means.HTTP, given, bound)
    yield Way(means, batching, endpoint, interval)


def _endpoint(signal: Signal, http: bool, given: Fields, bound: int) -> Endpoint:
    default = f"http://localhost:4318/v1/{signal}" if http else "http://localhost:4317"
    compressions = {str(each): each for each in Compression if http or each is not Compression.DEFLATE}
    wrong = "is no address: as in `http://localhost:4318/…`"
    given.choice("encoding", {"protobuf": True}, True)
    times = [each for each in (given.whole("timeout", 10_000), bound) if each]
    tls = _tls(given, http)
    return Endpoint(
        given.checked("endpoint", _http_url if http else _grpc_target, default, wrong),
        _headers(given),
        min(times, default=LONGEST) / 1_000,
        given.choice("compression", compressions, Compression.NONE),
        *(_path(tls, "ca_file"), _path(tls, "key_file"), _path(tls, "cert_file")),
        insecure=not http and tls.flag("insecure"),
    )


def _tls(given: Fields, http: bool) -> Fields:
    node = given.node("tls")
    if node is None:
        return Fields(given.notes, given.owner, {})
    tls = given.notes.fields(node, _PATHS if http else f"{_PATHS} insecure")
    if (tls.text("key_file") is None) is not (tls.text("cert_file") is None):
        given.notes.fault(node, "needs `key_file` and `cert_file`, or neither of them")
    return tls


def _path(tls: Fields, name: str) -> str | None:
    return tls.checked(name, lambda text: text if text.startswith("/") else None, "", "is no absolute path") or None


def _headers(given: Fields) -> dict[str, str]:
    """Those of the list count less. Names are in lower case, which gRPC wants and HTTP does not mind."""
    found: dict[str, str] = {}
    for pair in (given.text("headers_list") or "").split(","):
        name, equals, value = pair.partition("=")
        if equals:
            found[unquote(name.strip()).lower()] = unquote(value.strip())
        elif pair.strip():
            given.notes.fault(given.entries["headers_list"], "is no list as `name=value,other=value`")
    for each in given.items("headers"):
        entry = given.notes.fields(each, "name value")
        header, content = entry.named(), entry.text("value")
        if entry.required("value") is not None and header is not None and content is not None:
            found[header.lower()] = content
    if any(not _HEADER.fullmatch(name) or not _sendable(value) for name, value in found.items()):
        given.notes.fault(given.owner, "has a header that cannot be sent: visible characters of ASCII can")
    return found


def _http_url(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return text if right and _sendable(text) else None


def _grpc_target(text: str) -> str | None:
    if "://" in text:
        return _http_url(text)
    try:
        urlsplit(f"//{text}")
    except ValueError:
        return None
    return text if _sendable(text) and " " not in text else None


def _sendable(text: str) -> bool:
    return text.isascii() and text.isprintable()
