"""Every faulty manifest under faults/, with the place and the text of all of its problems.

A case is `== name`, the manifest, and one line `-- line:column message | what was expected` for each problem. `@@ path`
begins a file beside the manifest, and the problems of that file begin with its path.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from procq.errors import ManifestError, Problem
from procq.manifest import bounds, load_text
from procq.manifest.source import concealed

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


Files = dict[str, str]


def parsed(lines: list[str]) -> tuple[Files, list[str]]:
    """The files of a case, the manifest among them, and the problems they should have."""
    files: Files = {"procq.yaml": ""}
    path, problems = "procq.yaml", []
    for line in lines:
        if line.startswith("@@ "):
            path = line.removeprefix("@@ ")
            files[path] = ""
        elif line.startswith("-- "):
            problems.append(line.removeprefix("-- "))
        else:
            files[path] += f"{line}\n"
    return files, problems


def cases() -> Iterator[object]:
    for file in sorted(Path(__file__).with_name("faults").glob("*.txt")):
        for case in ("\n" + file.read_text()).split("\n== ")[1:]:
            name, *lines = case.rstrip("\n").split("\n")
            yield pytest.param(*parsed(lines), id=f"{file.stem}: {name}")


CASES = list(cases())


def found_in(files: Files) -> tuple[Problem, ...]:
    """The problems of a manifest in the working directory, which gets the files beside it."""
    for path, text in files.items():
        if path != "procq.yaml":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
    with pytest.raises(ManifestError) as caught:
        load_text(files["procq.yaml"].encode(), Path("procq.yaml"), ENVIRON)
    return caught.value.problems


def told(problem: Problem) -> str:
    where = "" if problem.path == "procq.yaml" else f"{problem.path}:"
    return f"{where}{problem.line}:{problem.column} {problem.message} | {problem.expected}"


@pytest.mark.parametrize(("files", "problems"), CASES)
def test_all_problems_are_told_where_they_are(
    files: Files, problems: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = found_in(files)
    assert [told(problem) for problem in found] == problems
    for problem in found:
        assert not problem.line or 1 <= problem.column <= len(problem.source_line) + 1
        if problem.path.endswith(".yaml"):
            lines = files[problem.path].split("\n")
            assert problem.source_line == (concealed(lines[problem.line - 1]) if problem.line else "")
        else:
            assert "secret" not in f"{problem} {problem.offending}", "values of variables are never shown"


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 200


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


def test_no_more_than_a_hundred_are_told() -> None:
    text = "queues:\n" + "".join(f"  q{n}:\n    command: rq\n    nonsense: 1\n" for n in range(150))
    with pytest.raises(ManifestError) as caught:
        load_text(text.encode(), Path("procq.yaml"), {})
    assert [problem.line for problem in caught.value.problems] == [4 + 3 * n for n in range(100)]
