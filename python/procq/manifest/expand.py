"""`${NAME}` and `${NAME:-default}`, from the environment procq was started with. `$${` stands for a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from procq.manifest.units import Refused

_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<body>[^{}]*)(?P<end>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its references replaced. Raises Refused for one that is not set or not well written."""
    return replace(text, environ, lambda value: value)


def replace(text: str, environ: Mapping[str, str], put: Callable[[str], str]) -> str:
    """As `expand`, with `put` called for every value to say what takes its place."""
    if "${" not in text:
        return text
    return _REFERENCE.sub(lambda found: put("${" if found["escaped"] else _value(found, environ)), text)


def _value(found: re.Match[str], environ: Mapping[str, str]) -> str:
    body = _BODY.fullmatch(found["body"])
    if body is None or not found["end"]:
        if "$" in found[0][2:]:
            raise Refused("a default cannot hold another reference", "write the default out")
        raise Refused(
            f"{found[0]} is not a reference to a variable",
            "write ${NAME} or ${NAME:-default}; to mean the characters as they are, write $${",
        )
    value = environ.get(body["name"])
    if body["default"] is not None:
        return value or body["default"]
    if value is None:
        name = body["name"]
        raise Refused(
            f"the variable {name} is not set in the environment of procq", f"set it, or give a default: ${{{name}:-…}}"
        )
    return value
