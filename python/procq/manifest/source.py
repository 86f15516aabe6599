"""The text of a manifest, and the list of what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from procq.errors import ManifestError, Problem, SourceLine

MAX_BYTES = 1 << 20
"""No manifest is larger; a file that is was not meant to be one."""
MAX_PROBLEMS = 100
"""Nobody reads more; a binary file would have thousands."""

# Control characters, line breaks which parsers count differently, and what shows text in another order.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
# In an address: up to the last @ of the word, for people do not always escape what a password holds; and in its query.
_PASSWORDS = (
    re.compile(r"(?<=://)(?P<before>[^\s:/@]*:)(?P<password>[^\s\"']+)(?=@)"),
    re.compile(r"(?P<before>[?&](?:password|passwd|pwd|token|secret)=)(?P<password>[^\s&\"'#]+)", re.IGNORECASE),
)


def concealed(text: str) -> str:
    """`text` with a dot for each character of a password in an address."""
    if "://" in text:
        for pattern in _PASSWORDS:
            text = pattern.sub(lambda found: f"{found['before']}{'•' * len(found['password'])}", text)
    return text


class Source:
    """A decoded manifest. Lines and columns are counted from 0 here, and from 1 in problems."""

    def __init__(self, data: bytes, path: str) -> None:
        """Decodes. Raises ManifestError where `data` is not plain text of a bearable size."""
        self.path = path
        self._problems: dict[tuple[int, int], Problem] = {}
        self.lines: list[str] = []
        self.text = self._decode(data)
        self.lines = self.text.split("\n")
        self._refuse_control_characters()

    def problem(
        self, line: int, column: int, length: int, message: str, expected: str, above: int | None = None
    ) -> None:
        """Notes a problem; the first at a place stands. `above` is the line of the enclosing key, for orientation."""
        context = SourceLine(above + 1, concealed(self.lines[above])) if above is not None and above < line else None
        shown = concealed(self.lines[line]) if line < len(self.lines) else ""
        message, expected = concealed(message), concealed(expected)
        found = Problem(self.path, line + 1, column + 1, max(1, length), message, expected, shown, context)
        self._problems.setdefault((line, column), found)

    def whole(self, message: str, expected: str) -> None:
        """Notes a problem of the file as a whole."""
        self._problems.setdefault((-1, 0), Problem(self.path, 0, 0, 0, message, expected))

    @property
    def faulty(self) -> bool:
        """Whether anything is wrong so far."""
        return bool(self._problems)

    def problems(self) -> list[Problem]:
        """All problems noted so far, in the order of the file."""
        return sorted(self._problems.values(), key=lambda p: (p.line, p.column))

    def raise_if_faulty(self) -> None:
        """Raises ManifestError with all problems noted so far, in the order of the file."""
        if self._problems:
            raise ManifestError(self.problems()[:MAX_PROBLEMS])

    def _decode(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            self.whole("the file is larger than 1 MiB", "a manifest is a short text; is this the right file?")
            self.raise_if_faulty()
        try:
            return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            before = data[: error.start].decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
            self.lines = data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
            line, column = before.count("\n"), len(before) - (before.rfind("\n") + 1)
            self.problem(line, column, 1, "this is not UTF-8 text", "save the file with the encoding UTF-8")
            self.raise_if_faulty()
            raise AssertionError from error

    def _refuse_control_characters(self) -> None:
        for line, column, character in self._forbidden():
            what = f"the invisible character U+{ord(character):04X}"
            self.problem(line, column, 1, f"{what} is not allowed in a manifest", "take it out")
        self.raise_if_faulty()

    def _forbidden(self) -> Iterator[tuple[int, int, str]]:
        if _FORBIDDEN.search(self.text) is None:
            return
        for number, line in enumerate(self.lines):
            for found in _FORBIDDEN.finditer(line):
                yield number, found.start(), found.group()
