"""docs/faults.md says which tests cover which fault: no line may lose its coverage silently."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = 67
"""Those of processes, output, time, resources and files; what follows is about views that are not built."""
_ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_TEST = re.compile(r"\b(?:def test_|fn )faults_((?:\d+_)+)")


def rows() -> dict[int, str]:
    """What is said to cover each fault."""
    return {int(number): shown for number, _, shown in _ROW.findall((ROOT / "docs" / "faults.md").read_text())}


def numbers(text: str) -> set[int]:
    """The faults that tests in a source file carry in their names."""
    return {int(number) for found in _TEST.findall(text) for number in found.strip("_").split("_")}


def test_every_fault_has_a_line() -> None:
    assert list(rows()) == list(range(1, LINES + 1))


@pytest.mark.parametrize("number", range(1, LINES + 1))
def test_what_is_said_to_cover_it_does(number: int) -> None:
    shown = rows()[number]
    if shown.startswith("out of scope: ") or shown == "not yet":
        return
    files = re.findall(r"`([^`]+)`", shown)
    assert files, f"{number}: name the files of its tests, or say why it is out of scope"
    for file in files:
        assert number in numbers((ROOT / file).read_text()), f"{file} has no test with faults_{number}_ in its name"


def test_the_numbers_in_names_are_those_of_the_list() -> None:
    for file in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("rust/*/src/**/*.rs"), *ROOT.glob("rust/*/tests/**/*.rs")]:
        assert numbers(file.read_text()) <= rows().keys(), file


def test_a_name_may_carry_several() -> None:
    assert numbers("def test_faults_4_6_x() -> None:\nfn faults_40_y()\ndef test_of_faults_9_z()") == {4, 6, 40}
