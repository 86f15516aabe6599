"""Included files and files of variables: what they mean, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from procq.errors import ManifestError
from procq.manifest import load, load_text
from procq.manifest.env_file import parse
from procq.model import Manifest


class Project:
    """A directory with a manifest in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "procq.yaml"

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))

    def read(self, environ: Mapping[str, str] | None = None, **files: str) -> Manifest:
        self.write({"procq.yaml" if name == "main" else name: text for name, text in files.items()})
        return load(self.path, environ or {})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    directory = tmp_path / "shop"
    directory.mkdir()
    return Project(directory)


def test_queues_of_all_files_in_the_order_of_the_text(project: Project) -> None:
    project.write(
        {
            "queues/two.yaml": "queues:\n  two: work\n",
            "queues/one.yaml": "version: 1\nqueues:\n  one: work\n",
            "queues/.hidden.yaml": "nonsense",
            "queues/notes.txt": "nonsense",
            "last.yml": "queues:\n  last: work\n",
        }
    )
    found = project.read(main="include:\n  - queues/*.yaml\n  - last.yml\nqueues:\n  first: work\n")
    assert list(found.queues) == ["first", "one", "two", "last"]
    assert found.files == (str(project.directory / "queues/*.yaml"), str(project.directory / "last.yml"))


def test_what_the_manifest_says_holds_for_included_queues(project: Project) -> None:
    project.write(
        {
            "teams/a/queues.yaml": """
            queues:
              emails:
                command: work ${WHERE}
                directory: sub
                env:
                  B: queue
                logs:
                  file: logs/{queue}.log
                after: redis
            """
        }
    )
    found = project.read(
        {"WHERE": "here"},
        main="""
        name: toys
        include: teams/*/queues.yaml
        env:
          A: top
          B: top
        defaults:
          workers: 3
        queues:
          redis: redis-server
        """,
    ).queues["emails"]
    directory = project.directory
    assert (found.argv, found.workers, found.directory) == (("work", "here"), 3, str(directory / "sub"))
    assert (found.env, found.logs.file) == ({"A": "top", "B": "queue"}, str(directory / "logs/{queue}.log"))
    assert (found.after, found.wave) == (("redis",), 1)


def test_a_manifest_that_only_includes_and_a_pattern_that_matches_itself(project: Project) -> None:
    project.write({"other.yaml": "queues:\n  a: work\n"})
    assert list(project.read(main='include: "*.yaml"\n').queues) == ["a"]


def test_a_pattern_without_matches(project: Project) -> None:
    assert list(project.read(main="include: queues/*.yaml\nqueues:\n  a: work\n").queues) == ["a"]


def test_a_file_that_two_patterns_match_is_read_once(project: Project) -> None:
    project.write({"queues/a.yaml": "queues:\n  a: work\n"})
    assert list(project.read(main="include:\n  - queues/*.yaml\n  - queues/a*.yaml\n").queues) == ["a"]


def test_a_directory_with_characters_of_patterns(tmp_path: Path) -> None:
    directory = tmp_path / "[shop]*"
    directory.mkdir()
    project = Project(directory)
    project.write({"q/a.yaml": "queues:\n  a: work\n", "b.yaml": "queues:\n  b: work\n", ".env": "A=1\n"})
    found = project.read(main="include:\n  - q/*.yaml\n  - b.yaml\nenv_file: .env\n")
    assert list(found.queues) == ["a", "b"]
    assert found.queues["a"].env == {"A": "1"}


def test_a_manifest_elsewhere_reads_what_is_beside_it_and_means_the_place_it_is_for(project: Project) -> None:
    project.write({"draft/q.yaml": "queues:\n  a: work\n", "draft/.env": "A=1\n"})
    text = b"include: q.yaml\nenv_file: .env\ndefaults:\n  directory: sub\n"
    found = load_text(text, project.directory / "draft/new.yaml", {}, at=project.path)
    assert found.queues["a"].directory == str(project.directory / "sub")
    assert (found.name, found.directory, found.queues["a"].env) == ("shop", str(project.directory), {"A": "1"})


def test_what_is_read_comes_from_the_reader(project: Project) -> None:
    asked: list[str] = []

    def read(path: str) -> bytes:
        asked.append(path)
        return b"queues:\n  b: work\n"

    found = load_text(b"include: b.yaml\nqueues:\n  a: work\n", project.path, {}, read=read)
    assert list(found.queues) == ["a", "b"]
    assert asked == [str(project.directory / "b.yaml")]


def test_which_files_were_read_is_known_when_they_are_faulty(project: Project) -> None:
    project.write({"bad.yaml": "queues: 1\n"})
    with pytest.raises(ManifestError) as caught:
        project.read(main="include:\n  - bad.yaml\n  - missing.yaml\n  - more/*.yaml\nenv_file: .env\n")
    names = (".env", "bad.yaml", "missing.yaml", "more/*.yaml")
    assert caught.value.files == tuple(str(project.directory / name) for name in names)


def test_included_queues_are_more_than_one_file_may_have(project: Project) -> None:
    project.write({f"q/{n}.yaml": f"queues:\n  q{n}: work\n" for n in range(1001)})
    with pytest.raises(ManifestError, match="more than 1000 files are included"):
        project.read(main="include: q/*.yaml\n")


# --- variables ----------------------------------------------------------------------------------------------------


def test_the_nearer_wins_and_env_wins_over_the_file_beside_it(project: Project) -> None:
    project.write(
        {
            ".env": "A=top file\nB=top file\nC=top file\nD=top file\nE=top file\nF=top file\n",
            "defaults.env": "C=defaults file\nD=defaults file\nE=defaults file\nF=defaults file\n",
            "queue.env": "E=queue file\nF=queue file\n",
        }
    )
    found = project.read(
        main="""
        env_file: .env
        env:
          B: top
        defaults:
          env_file: defaults.env
          env:
            D: defaults
            E: defaults
        queues:
          a:
            command: work
            env_file: queue.env
            env:
              F: queue
          b: work
        """,
    ).queues
    top = {"A": "top file", "B": "top", "C": "defaults file", "D": "defaults"}
    assert found["a"].env == {**top, "E": "queue file", "F": "queue"}
    assert found["b"].env == {**top, "E": "defaults", "F": "defaults file"}


def test_files_of_one_list_the_later_wins(project: Project) -> None:
    project.write({"1.env": "A=1\nB=1\n", "2.env": "B=2\nC=2\n"})
    found = project.read(main="env_file:\n  - 1.env\n  - 2.env\nqueues:\n  a: work\n").queues["a"]
    assert found.env == {"A": "1", "B": "2", "C": "2"}


def test_the_environment_wins_over_the_file_at_the_top_in_references_and_for_workers(project: Project) -> None:
    project.write({".env": "HERE=file\nTHERE=file\nWORKERS=4\n", "q.env": "HERE=queue\n"})
    text = """
        env_file: .env
        queues:
          a:
            command: work ${HERE} ${THERE}
            workers: ${WORKERS}
          b:
            command: work
            env_file: q.env
        """
    found = project.read({"HERE": "environment"}, main=text).queues
    assert found["a"].argv == ("work", "environment", "file")
    assert found["a"].workers == 4
    assert found["a"].env == {"THERE": "file", "WORKERS": "4"}, "HERE is inherited"
    assert found["b"].env == {"THERE": "file", "WORKERS": "4", "HERE": "queue"}


def test_files_of_queues_are_not_for_references(project: Project) -> None:
    project.write({"q.env": "A=1\n"})
    with pytest.raises(ManifestError, match="the variable A is not set"):
        project.read(main="queues:\n  a:\n    command: work ${A}\n    env_file: q.env\n")


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("# nothing\n\n  # more\n", {}),
        ("A=1", {"A": "1"}),
        ("A=\nB=''\nC=\"\"\n", {"A": "", "B": "", "C": ""}),
        ("export A=1\n  export  B=2\n", {"A": "1", "B": "2"}),
        ("A=one two  \nB=a#b\nC=a # b\nD=# b\n", {"A": "one two", "B": "a#b", "C": "a", "D": ""}),
        ("A='a # b'  # c\nB=\"a # b\"# c\n", {"A": "a # b", "B": "a # b"}),
        ("A=it's\nB=x=y==\nC=$HOME\nD=pa$$word\n", {"A": "it's", "B": "x=y==", "C": "$HOME", "D": "pa$$word"}),
        (r'A="a\nb\t\"c\" \\ \$x"', {"A": 'a\nb\t"c" \\ $x'}),
        (r"A='a\nb ${X}'", {"A": r"a\nb ${X}"}),
        ("A=a\\nb\n", {"A": "a\\nb"}),
        ("A=\"-- BEGIN\nabc=\n-- END\"\nB='x\ny'\n", {"A": "-- BEGIN\nabc=\n-- END", "B": "x\ny"}),
        ("\ufeffA=1\r\nB='x'\r\n", {"A": "1", "B": "x"}),
        ("A=grüße 🙂\n", {"A": "grüße 🙂"}),
        ('A="x\\\\"\nB=1', {"A": "x\\", "B": "1"}),
    ],
)  # fmt: skip
def test_files_of_variables(text: str, variables: dict[str, str]) -> None:
    assert parse(text.encode(), ".env") == variables


def test_bytes_that_are_no_text_are_not_shown() -> None:
    with pytest.raises(ManifestError) as caught:
        parse(b"A=1\nB=secret\xff\n", ".env")
    assert str(caught.value) == ".env:2:1: this is not UTF-8 text (save the file with the encoding UTF-8)"
    assert "secret" not in caught.value.render()


def test_a_problem_shows_no_more_than_the_name() -> None:
    with pytest.raises(ManifestError) as caught:
        parse(b"export A=${secret}\nMIIsecret/secret==\n", ".env")
    assert caught.value.render() == (
        ".env:1:10  references to variables are not expanded here\n"
        "    1 | export A=…\n"
        "      |          ^ write its value out; to mean the characters as they are, use single quotes\n"
        ".env:2:1   what stands before the = is not the name of a variable\n"
        "    2 | …\n"
        "      | ^ letters, digits and underscores, not beginning with a digit\n"
        "2 problems in .env. Nothing was changed."
    )
