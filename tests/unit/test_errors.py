"""The error texts: exact layout, exit codes, and nothing in them that could steer a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procq.errors import (
    AlreadyRunning,
    ManifestError,
    NoManifest,
    NotRunning,
    Problem,
    ProcqError,
    SourceLine,
    UsageError,
    did_you_mean,
    nearest,
)

MEMORY = Problem(
    "procq.yaml",
    14,
    15,
    8,
    "limits.memory is not a size",
    "expected a number with a unit, as in 512MB",
    "      memory: 512 megs",
    SourceLine(13, "    limits:"),
)
COMAND = Problem(
    "procq.yaml",
    21,
    5,
    6,
    'unknown key "comand" in queue "reports"',
    'did you mean "command"?',
    "    comand: rq worker reports",
)


def test_layout() -> None:
    assert ManifestError([MEMORY, COMAND]).render() == (
        "procq.yaml:14:15  limits.memory is not a size\n"
        "   13 |     limits:\n"
        "   14 |       memory: 512 megs\n"
        "      |               ^^^^^^^^ expected a number with a unit, as in 512MB\n"
        'procq.yaml:21:5   unknown key "comand" in queue "reports"\n'
        "   21 |     comand: rq worker reports\n"
        '      |     ^^^^^^ did you mean "command"?\n'
        "2 problems in procq.yaml. Nothing was changed."
    )


def test_one_problem_of_the_whole_file() -> None:
    assert ManifestError([Problem("a.yaml", 0, 0, 0, "the file is empty", "write a queue")]).render() == (
        "a.yaml  the file is empty\n      write a queue\n1 problem in a.yaml. Nothing was changed."
    )


def test_colour_adds_nothing_but_colour() -> None:
    error = ManifestError([MEMORY, COMAND])
    coloured = error.render(color=True)
    for code in ("\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert coloured == error.render()


@pytest.mark.parametrize(
    ("line", "column", "length", "carets"),
    [
        ("名前: 値 x", 5, 1, "      |       ^^ here"),
        ("\tname: x", 1, 1, "      | ^ here"),
        ("name: x", 8, 5, "      |        ^ here"),
    ],
)
def test_carets_stand_under_what_they_mean(line: str, column: int, length: int, carets: str) -> None:
    problem = Problem("p", 1, column, length, "m", "here", line)
    assert carets in ManifestError([problem]).render().splitlines()


def test_long_lines_show_the_part_that_matters() -> None:
    line = "command: " + "x" * 500 + "BAD" + "y" * 500
    shown, carets = ManifestError([Problem("p", 1, 510, 3, "m", "here", line)]).render().splitlines()[1:3]
    assert len(shown) < 120
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "BAD"


@given(st.text(), st.text(), st.integers(1, 300), st.integers(0, 300))
def test_no_control_characters_reach_the_terminal(line: str, message: str, column: int, length: int) -> None:
    problem = Problem("p", 1, column, length, message, message, line, SourceLine(1, line))
    assert all(c.isprintable() or c == "\n" for c in ManifestError([problem]).render())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProcqError("m"), 1),
        (AlreadyRunning("m"), 1),
        (NotRunning("m"), 3),
        (ManifestError([MEMORY]), 4),
        (NoManifest("/srv", ["procq.yaml"]), 4),
        (UsageError("m"), 64),
    ],
)
def test_exit_codes(error: ProcqError, code: int) -> None:
    assert error.exit_code == code


def test_text_of_an_error_holds_what_and_what_to_do() -> None:
    assert str(NotRunning("shop is not running.", "Start it with `procq up`.")) == (
        "shop is not running. Start it with `procq up`."
    )
    assert str(ManifestError([MEMORY])).startswith("procq.yaml:14:15: limits.memory is not a size (expected")
    error = NoManifest("/srv", ["procq.yaml", "Procfile"])
    assert error.render() == "no manifest in /srv: looked for procq.yaml, Procfile. Write one, or name another file."
    assert str(error) == error.render()


def test_nearest() -> None:
    assert nearest("comand", ["command", "workers"]) == "command"
    assert nearest("term", ["TERM", "INT"]) == "TERM"
    assert nearest("zzz", ["command"]) is None
    assert did_you_mean("zzz", ["command"], "expected this") == "expected this"
