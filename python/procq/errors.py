"""Everything procq refuses to do, as exceptions that say what happened, to which thing, and what to do.

ProcqError                   exit 1   something failed
├── ManifestError            exit 4   the manifest does not load; carries every problem found in it
│   └── NoManifest           exit 4   there is no manifest to load
├── UsageError               exit 64  the command line asks for something that does not exist
├── NotRunning               exit 3   nothing runs under this name
└── AlreadyRunning           exit 1   something already runs under this name
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum
from typing import ClassVar

_WIDEST = 100
_RED, _BOLD, _DIM, _PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"


class ExitCode(IntEnum):
    """What the exit status of every `procq` command means."""

    DONE = 0
    FAILED = 1
    DIFFERENCES = 2
    NOT_RUNNING = 3
    MANIFEST = 4
    USAGE = 64
    INTERRUPTED = 130


class ProcqError(Exception):
    """Base of all errors a person may meet. `hint` says what to do, where there is something to do."""

    exit_code: ClassVar[int] = ExitCode.FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"


class UsageError(ProcqError):
    """The command line asks for something that does not exist."""

    exit_code = ExitCode.USAGE


class NotRunning(ProcqError):
    """Nothing runs under this name."""

    exit_code = ExitCode.NOT_RUNNING


class AlreadyRunning(ProcqError):
    """Something already runs under this name."""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One line of a file; numbers count from 1."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one place of a file. Lines and columns count from 1; line 0 means the file as a whole."""

    path: str
    line: int
    column: int
    length: int
    message: str
    expected: str
    source_line: str = ""
    context: SourceLine | None = None

    @property
    def place(self) -> str:
        """`file:line:column`, or only the file."""
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path

    @property
    def offending(self) -> str:
        """The text that is wrong, as it stands in the file."""
        return self.source_line[self.column - 1 : self.column - 1 + self.length] if self.line else ""


class ManifestError(ProcqError):
    """A manifest does not load. `problems` holds all of them, in the order of the file.

    `files` are the absolute paths and patterns of what was read besides it, and may be what is wrong.
    """

    exit_code = ExitCode.MANIFEST

    def __init__(self, problems: Iterable[Problem], files: tuple[str, ...] = ()) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.files = files
        super().__init__("\n".join(f"{p.place}: {p.message} ({p.expected})" for p in self.problems))

    @classmethod
    def whole(cls, path: str, message: str, expected: str) -> ManifestError:
        """A single problem, of the file as a whole."""
        return cls([Problem(path, 0, 0, 0, message, expected)])

    def render(self, color: bool = False) -> str:
        """The problems as a person reads them: place, message, offending line, carets, what was expected."""
        width = max((len(p.place) for p in self.problems), default=0)
        lines = [line for p in self.problems for line in _render(p, width, color)]
        return "\n".join([*lines, _summary(self.problems)])


class NoManifest(ManifestError):
    """There is no manifest in `directory`; `names` were looked for."""

    def __init__(self, directory: str, names: Sequence[str]) -> None:
        super().__init__(())
        self.message = f"no manifest in {directory}: looked for {', '.join(names)}."
        self.hint = "Write one, or name another file."

    @classmethod
    def at(cls, path: str) -> NoManifest:
        """The file that was named does not exist."""
        error = cls("", ())
        error.message = f"there is no manifest {path}"
        error.hint = "Check the path, or leave it out to use the one here."
        return error

    def render(self, color: bool = False) -> str:
        """One sentence: there is no line to show."""
        return str(self)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was most likely meant to be, whatever its case; None when nothing comes close."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, choices: Iterable[str], otherwise: str) -> str:
    """`did you mean "…"?` where a choice comes close to `word`, else `otherwise`."""
    guess = nearest(word, choices)
    return otherwise if guess is None else f'did you mean "{guess}"?'


def printable(text: str) -> str:
    """`text` with everything that could steer a terminal replaced, one character for one."""
    return "".join("→" if c == "\t" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _render(problem: Problem, width: int, color: bool) -> list[str]:
    head = f"{problem.place:<{width}}  {problem.message}"
    lines = [_paint(printable(head), _BOLD, color)]
    if not problem.line:
        return [*lines, f"      {printable(problem.expected)}"]
    if problem.context is not None:
        shown = printable(problem.context.text[:_WIDEST])
        lines.append(_paint(f"{problem.context.number:>5} | {shown}", _DIM, color))
    text, before = _window(problem.source_line, problem.column - 1)
    length = max(1, min(problem.length, len(text) - before))
    lines.append(f"{problem.line:>5} | {text}")
    carets = _paint("^" * max(1, _columns(text[before : before + length])), _RED, color)
    lines.append(f"      | {' ' * _columns(text[:before])}{carets} {printable(problem.expected)}")
    return lines


def _window(line: str, offset: int) -> tuple[str, int]:
    """The part of a line worth showing, printable, and where `offset` is in it."""
    if len(line) <= _WIDEST:
        return printable(line), offset
    start = max(0, min(offset - 20, len(line) - _WIDEST))
    head, tail = ("…" if start else ""), ("…" if start + _WIDEST < len(line) else "")
    return head + printable(line[start : start + _WIDEST]) + tail, offset - start + len(head)


def _columns(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _paint(text: str, style: str, color: bool) -> str:
    return f"{style}{text}{_PLAIN}" if color else text


def _summary(problems: Sequence[Problem]) -> str:
    files = list(dict.fromkeys(p.path for p in problems))
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{count} in {printable(', '.join(files))}. Nothing was changed."
