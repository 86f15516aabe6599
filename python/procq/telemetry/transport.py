"""How what is sent by HTTP travels: by urllib3 alone where that is enough, which is 3 MiB less than by requests.

The exporters of the SDK come with both, and take the first one by an argument that is not public yet. Where a version
does not have it, or something is asked for that only requests does, they choose as they do by themselves.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from procq.telemetry.config import Signal

_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_PROVIDER: Final = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_"
_LOGINS: Final = ("~/.netrc", "~/_netrc")
_AUTHORITIES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def light(signal: Signal, environ: Mapping[str, str]) -> dict[str, Any]:
    """Arguments for the exporter of a signal that asks the variables; none where requests has to do it."""
    url = _of(signal, "ENDPOINT", environ)
    if not url or not _plain(url, environ):
        return {}
    secure = urlsplit(url).scheme.lower() == "https"
    try:
        from opentelemetry.exporter.http.transport._urllib3 import Urllib3HTTPTransport

        authority = _authority(signal, environ) if secure else None
    except ImportError:
        return {}
    if authority is not None and not Path(authority).is_file():
        # A directory of them, or a mistake, which requests tells.
        return {}
    cert, key = _of(signal, "CLIENT_CERTIFICATE", environ), _of(signal, "CLIENT_KEY", environ)
    own = (cert, key) if cert and key else cert or None
    return {"_transport": Urllib3HTTPTransport(verify=authority or True, cert=own if secure else None)}


def built(exporter: Any, arguments: Mapping[str, Any]) -> Any:
    """An exporter, with these arguments if it takes them."""
    try:
        return exporter(**arguments)
    except TypeError:
        return exporter()


def _plain(url: str, environ: Mapping[str, str]) -> bool:
    """Whether nothing stands between us and the receiver, and nothing is to be found out about who we are."""
    provider = any(name.startswith(_PROVIDER) and value for name, value in environ.items())
    logins = [environ.get("NETRC", ""), *(os.path.expanduser(each) for each in _LOGINS)]
    netrc = any(each and os.path.exists(each) for each in logins)
    return not (provider or netrc or getproxies_environment() or "@" in urlsplit(url).netloc)


def _authority(signal: Signal, environ: Mapping[str, str]) -> str:
    """What the receiver's certificate is checked with; the same that requests takes."""
    from certifi import where

    named = (environ.get(name, "") for name in _AUTHORITIES)
    return _of(signal, "CERTIFICATE", environ) or next(filter(None, named), "") or where()


def _of(signal: Signal, what: str, environ: Mapping[str, str]) -> str:
    """What a variable says, for this signal or for all."""
    return environ.get(f"{_PREFIX}{signal.upper()}_{what}") or environ.get(f"{_PREFIX}{what}") or ""
