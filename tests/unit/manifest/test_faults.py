"""Every faulty manifest under faults/, with the place and the text of all of its problems.

A case is `== name`, the manifest, and one line `-- line:column message | what was expected` for each problem.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from procq.errors import ManifestError
from procq.manifest import bounds, load_text

ENVIRON = {"WORD": "many", "NUMBER": "30", "TWO": "2"}


@pytest.fixture(autouse=True)
def same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One user, three groups, root."""
    shop = pwd.struct_passwd(("shop", "x", 1000, 1000, "", "/home/shop", "/bin/bash"))
    groups = [grp.struct_group((name, "x", gid, [])) for name, gid in (("root", 0), ("shop", 1000), ("video", 44))]
    monkeypatch.setattr(pwd, "getpwnam", {"shop": shop}.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", {1000: shop}.__getitem__)
    monkeypatch.setattr(pwd, "getpwall", lambda: [shop])
    monkeypatch.setattr(grp, "getgrnam", {group.gr_name: group for group in groups}.__getitem__)
    monkeypatch.setattr(grp, "getgrall", lambda: groups)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 44])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bounds, "_open_files", lambda: 1_048_576)


def cases() -> Iterator[object]:
    for file in sorted(Path(__file__).with_name("faults").glob("*.txt")):
        for case in ("\n" + file.read_text()).split("\n== ")[1:]:
            name, *lines = case.rstrip("\n").split("\n")
            text = [line for line in lines if not line.startswith("-- ")]
            problems = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
            yield pytest.param("".join(f"{line}\n" for line in text), problems, id=f"{file.stem}: {name}")


CASES = list(cases())


@pytest.mark.parametrize(("text", "problems"), CASES)
def test_all_problems_are_told_where_they_are(text: str, problems: list[str]) -> None:
    with pytest.raises(ManifestError) as caught:
        load_text(text.encode(), Path("procq.yaml"), ENVIRON)
    found = [f"{p.line}:{p.column} {p.message} | {p.expected}" for p in caught.value.problems]
    assert found == problems
    lines = text.split("\n")
    for problem in caught.value.problems:
        assert problem.source_line == (lines[problem.line - 1] if problem.line else "")
        assert not problem.line or 1 <= problem.column <= len(problem.source_line) + 1


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 100


def test_a_problem_below_a_key_is_shown_with_that_key() -> None:
    text = b"queues:\n  emails:\n    command: rq\n    stop:\n      signal: TERM\n      grace: 30\n"
    with pytest.raises(ManifestError) as caught:
        load_text(text, Path("procq.yaml"), {})
    assert caught.value.render() == (
        "procq.yaml:6:14  stop.grace is not a duration\n"
        "    4 |     stop:\n"
        "    6 |       grace: 30\n"
        "      |              ^^ expected a number with a unit, as in 500ms, 30s or 5m\n"
        "1 problem in procq.yaml. Nothing was changed."
    )
