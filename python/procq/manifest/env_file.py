"""Files of variables: `NAME=value` a line, with quotes, `export` and comments; nothing in them is expanded.

Their values are secrets: no problem of such a file shows more of a line than the name at its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from procq.errors import ManifestError, Problem

MAX_BYTES = 1 << 20
_LINE = re.compile(
    r"(?P<head>[ \t]*(?:export[ \t]+)?)(?P<name>[^=\s\"'#]+)(?P<equals>[ \t]*=[ \t]*)(?P<rest>.*)", re.DOTALL
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_AFTER = re.compile(r"[ \t]*(?:#.*)?")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`", "\n": ""}
_RULE = "expected NAME=value; comments begin with #"


def parse(data: bytes, path: str) -> Mapping[str, str]:
    """The variables of a file. Raises ManifestError with every problem, `path` as its name."""
    return _Parser(data, path).parse()


class _Parser:
    def __init__(self, data: bytes, path: str) -> None:
        self._path = path
        self._problems: list[Problem] = []
        self._found: dict[str, str] = {}
        self._places: dict[str, int] = {}
        self._lines = self._decode(data).split("\n")
        self._next = 0

    def parse(self) -> Mapping[str, str]:
        while self._next < len(self._lines):
            number, line = self._next, self._lines[self._next]
            self._next += 1
            if line.strip() and not line.lstrip().startswith("#"):
                self._entry(number, line)
        if self._problems:
            raise ManifestError(self._problems)
        return self._found

    def _entry(self, number: int, line: str) -> None:
        found = _LINE.fullmatch(line)
        if found is None:
            self._problem(number, 0, "", "this line is not NAME=value", _RULE)
            return
        name, head = found["name"], found["head"]
        value = self._value(number, found)
        if value is None:
            return
        if not _NAME.fullmatch(name):
            # It may be a line of a key, so it is not shown either.
            message = "what stands before the = is not the name of a variable"
            self._problem(number, 0, "", message, "letters, digits and underscores, not beginning with a digit")
            return
        if found["equals"] != "=":
            self._problem(number, found.end("name"), head + name, "a space stands beside the =", "take it out")
            return
        if name.startswith("PROCQ_"):
            expected = "choose a name that does not begin with PROCQ_"
            self._problem(number, len(head), head + name, f'"{name}" is set by procq itself', expected)
            return
        if name in self._found:
            first = self._places[name] + 1
            message = f'"{name}" stands here twice'
            self._problem(number, len(head), head + name, message, f"the first is in line {first}; keep one")
            return
        if "\0" in value:
            self._problem(
                number, len(head), head + name, "the character NUL cannot be given to a program", "take it out"
            )
            return
        self._found[name], self._places[name] = value, number

    def _value(self, number: int, found: re.Match[str]) -> str | None:
        """What stands behind the `=`; None where that was a problem. Text in quotes may go on in the next lines."""
        rest, shown = found["rest"], found["head"] + found["name"]
        if rest[:1] not in ("'", '"'):
            value = re.split(r"(?:^|[ \t])#", rest, maxsplit=1)[0].rstrip()
            return self._unexpanded(number, shown, value, value)
        quote, body = rest[0], rest[1:]
        closing = re.compile(r"'" if quote == "'" else r'(?<!\\)(?:\\\\)*(")')
        while (end := closing.search(body)) is None:
            if self._next == len(self._lines):
                self._problem(number, len(shown) + 1, shown, "a quote is opened and never closed", "close it")
                return None
            body += "\n" + self._lines[self._next]
            self._next += 1
        at = end.start(1) if quote == '"' else end.start()
        value, after = body[:at], body[at + 1 :]
        if _AFTER.fullmatch(after) is None:
            message = "something stands behind the closing quote"
            self._problem(number, len(shown) + 1, shown, message, "put the whole value in quotes")
            return None
        return value if quote == "'" else self._escaped(number, shown, value)

    def _escaped(self, number: int, shown: str, value: str) -> str | None:
        if any(found[1] not in _ESCAPES for found in _ESCAPE.finditer(value)):
            message = r"a backslash stands before something other than n, r, t, $, \ or a quote"
            self._problem(number, len(shown) + 1, shown, message, r"write \\ for a backslash, or use single quotes")
            return None
        plain = _ESCAPE.sub(lambda found: _ESCAPES[found[1]], value)
        return self._unexpanded(number, shown, _ESCAPE.sub("", value), plain)

    def _unexpanded(self, number: int, shown: str, looked_at: str, value: str) -> str | None:
        """Other readers would expand a reference: procq rather refuses it than passes it on as it is."""
        if "${" in looked_at:
            expected = "write its value out; to mean the characters as they are, use single quotes"
            self._problem(number, len(shown) + 1, shown, "references to variables are not expanded here", expected)
            return None
        return value

    def _problem(self, number: int, column: int, shown: str, message: str, expected: str) -> None:
        """`shown` is what may be seen of the line."""
        text = f"{shown}=…" if shown else "…"
        self._problems.append(Problem(self._path, number + 1, column + 1, 1, message, expected, text))

    def _decode(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            raise ManifestError.whole(self._path, "the file is larger than 1 MiB", "is this the right file?")
        try:
            return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n")
            self._problem(line, 0, "", "this is not UTF-8 text", "save the file with the encoding UTF-8")
            raise ManifestError(self._problems) from None
