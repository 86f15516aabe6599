"""`${NAME}` and `${NAME:-default}`, from the environment procq was started with. `$${` stands for a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from procq.manifest.units import Refused


class Variables(dict[str, str]):
    """What `${NAME}` is taken from: the environment procq was started with, and below it the files that are added.

    The values of the latter are in `own`. They are secrets, as far as anybody knows.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.own: dict[str, str] = {}

    def add(self, variables: Mapping[str, str]) -> None:
        """Adds variables; the later file wins, and the environment over all of them."""
        own = {name: value for name, value in variables.items() if name not in self or name in self.own}
        self.own |= own
        self.update(own)


_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<body>[^{}]*)(?P<end>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its references replaced. Raises Refused for one that is not set or not well written."""
    return replace(text, environ, lambda value: value)


def hides(text: str, environ: Mapping[str, str]) -> bool:
    """Whether `text` refers to a variable whose value is not to be shown."""
    if "${" not in text or not isinstance(environ, Variables):
        return False
    bodies = (_BODY.fullmatch(found["body"] or "") for found in _REFERENCE.finditer(text))
    return any(body is not None and body["name"] in environ.own for body in bodies)


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
