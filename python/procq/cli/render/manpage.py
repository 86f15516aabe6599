"""The manual page, from the parsers that read the command line and the help they show."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import groupby

from procq.cli.definition import verb_parsers
from procq.cli.parser import Parser
from procq.cli.verbs import ALIASES, VERBS
from procq.core import VERSION

EXIT_CODES = {
    0: "done",
    1: "failed: the message says what, and what can be done about it",
    2: "plan, up --dry-run: something would change",
    3: "not running",
    4: "the manifest is not valid, or there is none",
    64: "the command line asks for something that does not exist",
    130: "interrupted",
}
"""What the exit status of every command means."""

_FILES = (
    ("procq.yaml, procq.yml, Procfile", "The manifest, where no other is named: the first that exists."),
    ("$XDG_RUNTIME_DIR/procq/*/", "Sockets and lock of what runs; /tmp/procq-UID where the variable is not set."),
    ("$XDG_STATE_HOME/procq/*/procq.log", "What `procq up -d` would have shown in a terminal."),
)
_ENVIRONMENT = (
    ("NO_COLOR", "Where it is set, nothing is coloured."),
    (
        "XDG_RUNTIME_DIR, XDG_STATE_HOME, XDG_CACHE_HOME",
        "Where sockets, the log, and what is remembered of manifests go.",
    ),
)


def manual() -> str:
    """The whole page."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    top = Parser.top()
    yield f'.TH PROCQ 1 "" "procq {VERSION}" "User Commands"'
    yield from (".SH NAME", r"procq \- runs the workers of your queues as one file says")
    yield from (".SH SYNOPSIS", r".B procq", r"[\-f \fIFILE\fR] [\-\-name \fINAME\fR] \fICOMMAND\fR ...")
    yield ".SH DESCRIPTION"
    yield from _text(top.description or "")
    yield ".SH OPTIONS"
    yield from _options(top)
    yield ".SH COMMANDS"
    for verb, parser in verb_parsers().items():
        aliases = [alias for alias, meant in ALIASES.items() if meant == verb]
        names = " or ".join(f"procq {name}" for name in (verb, *aliases))
        yield f'.SS "{names} \\- {_escaped(VERBS[verb])}"'
        yield ".nf"
        yield _escaped(" ".join(parser.format_usage().removeprefix("usage: ").split()))
        yield ".fi"
        yield ".PP"
        yield from _text(parser.description or "")
        yield from _options(parser, without=("help", "file", "name"))
    yield ".SH EXIT STATUS"
    yield from _terms((str(code), meaning) for code, meaning in EXIT_CODES.items())
    yield ".SH ENVIRONMENT"
    yield from _terms(_ENVIRONMENT)
    yield ".SH FILES"
    yield from _terms(_FILES)


def _text(text: str) -> Iterator[str]:
    """Paragraphs; lines that are indented stay as they are."""
    for blank, lines in groupby(text.strip("\n").splitlines(), key=lambda line: not line.strip()):
        if blank:
            continue
        for verbatim, part in groupby(lines, key=lambda line: line.startswith("  ")):
            if verbatim:
                yield from (".PP", ".RS 4", ".nf")
                yield from (_escaped(line.strip()) for line in part)
                yield from (".fi", ".RE")
            else:
                yield ".PP"
                yield from map(_escaped, part)


def _options(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> Iterator[str]:
    for action in parser._actions:
        if action.dest not in without and action.help:
            yield from (".TP", f".B {_escaped(_name(action))}", _escaped(action.help))


def _name(action: argparse.Action) -> str:
    value = action.metavar or "|".join(action.choices or ()) or action.dest
    if not action.option_strings:
        return str(value)
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    return f"{names}[={value}]" if action.nargs == "?" else f"{names} {value}"


def _terms(terms: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, meaning in terms:
        yield from (".TP", f".B {_escaped(term)}", _escaped(meaning))


def _escaped(text: str) -> str:
    """Plain text for troff, in ASCII: what it would take for a command, or for typographic, is not meant so."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    text = text.replace("^", r"\(ha").replace("~", r"\(ti").replace('"', r"\(dq")
    text = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)
    return f"\\&{text}" if text.startswith(".") else text
