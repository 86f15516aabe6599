"""A manifest loaded again after an edit means exactly what it means when it is loaded for the first time."""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procq.errors import ManifestError
from procq.manifest import again, load_text, nodes, reading
from procq.model import Manifest, Queue
from tests.unit.manifest.test_random import DIRECTORY, MANIFESTS, print_manifest

PATH = Path(DIRECTORY) / "procq.yaml"


@pytest.fixture(autouse=True)
def of_few_queues(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(again, "_LARGE", 1)
    monkeypatch.setattr(reading, "_again", again.Again())
    yield


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is parsed."""
    parsed: list[str] = []
    real = nodes.parse

    def parse(source: object, text: str) -> object:
        parsed.append(text)
        return real(source, text)  # type: ignore[arg-type]

    monkeypatch.setattr("procq.manifest.syntax.parse", parse)
    return parsed


Outcome = Manifest | list[str]


def outcome(text: str, environ: Mapping[str, str]) -> Outcome:
    try:
        return load_text(text.encode(), PATH, environ)
    except ManifestError as error:
        return [str(error)]


def afresh(text: str, environ: Mapping[str, str] | None = None) -> Outcome:
    kept, reading._again = reading._again, again.Again()
    try:
        return outcome(text, environ or {})
    finally:
        reading._again = kept


def alike(one: Outcome, other: Outcome) -> bool:
    if isinstance(one, Manifest) and isinstance(other, Manifest):
        return one == other and list(one.queues) == list(other.queues)
    return one == other


TEXT = """\
# a shop
name: shop
env:
  A: b
queues:

  one: rq worker one   # the first
  # about two
  two:
    command: rq worker two
    workers: 2
    env:
      NOTE: |
        first

  three:
    shell: yes
    command: |+
      echo three

  four: rq worker four
"""
TAIL = 'defaults:\n  stop:\n    grace: 3s\nversion: "1"\n'


@pytest.mark.parametrize("tail", ["", TAIL])
@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("workers: 2", "workers: 3"),
        lambda text: text.replace("rq worker one ", "rq worker uno "),
        lambda text: text.replace("worker four\n", "worker four and five\n"),
        lambda text: text.replace("        first\n\n", "        first\n        second\n"),
        lambda text: text.replace("        first\n\n", "        first\n"),
        lambda text: text.replace("      echo three\n", "      echo three\n      echo four\n\n\n"),
        lambda text: text.replace("    workers: 2\n", ""),
        lambda text: text.replace("  four: rq worker four\n", "  four:\n    command: rq worker four\n    workers: 4\n"),
        lambda text: text.replace("  # about two\n", "  # about\n  # two\n\n"),
        lambda text: text.replace("worker two", "worker 2").replace("echo three", "echo 3"),
        lambda text: text,
    ],
)
def test_only_the_queues_that_differ_are_read(edit: Callable[[str], str], tail: str, texts: list[str]) -> None:
    assert isinstance(outcome(TEXT + tail, {}), Manifest)
    texts.clear()
    new = edit(TEXT + tail)
    found = outcome(new, {})
    assert sum(map(len, texts)) < len(new)
    assert isinstance(found, Manifest) and alike(found, afresh(new))
    # And once more, on what is remembered now.
    texts.clear()
    newer = new.replace("echo", "exec echo")
    assert alike(outcome(newer, {}), afresh(newer))
    assert len(texts[0]) < len(newer)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("  two:", "  zwei:"),
        lambda text: text.replace("  two:", "  four:"),
        lambda text: text.replace("  two:", "   two:"),
        lambda text: text.replace("  two:\n", "  two:\n  another: x\n"),
        lambda text: text.replace("  one:", "  five: x\n  one:"),
        lambda text: text.replace("grace: 3s", "grace: 4s"),
        lambda text: text.replace("A: b", "A: c"),
        lambda text: text.replace("name: shop", "name: market"),
        lambda text: text.replace("workers: 2", "workers: many"),
        lambda text: text.replace("workers: 2", "after: one"),
        lambda text: text.replace("workers: 2", "after: three\n    workers: 2").replace("shell: yes", "after: two"),
        lambda text: text.replace("workers: 2", "env_file: .env"),
        lambda text: text.replace("rq worker two", '"rq worker two'),
        lambda text: text.replace("rq worker four", '"rq worker four'),
        lambda text: text.replace("rq worker four", "'rq worker four\n"),
        lambda text: text.replace("rq worker four", "'rq\n") + "x: 'y'\n",
        lambda text: text.replace("workers: 2", "workers: 2\n---"),
        lambda text: text.replace("rq worker four\n", "rq worker four\n...\n"),
        lambda text: text.replace("rq worker four\n", "rq worker four\nenv_file: x\n"),
        lambda text: text.replace("  four: rq worker four\n", ""),
        lambda text: text.replace("  four", "  five"),
        lambda text: text.replace("workers: 2", "workers: 2\n    workers: 3"),
        lambda text: text.replace("workers: 2", "workers: 2\n\tx: y"),
        lambda text: text.replace("workers: 2", "workers: 2\x07"),
        lambda text: text.replace("queues:\n", "queues: # all\n"),
        lambda text: "",
        lambda text: text + text,
    ],
)
@pytest.mark.parametrize("tail", ["", TAIL])
def test_an_edit_that_matters_to_others_is_read_as_a_whole(edit: Callable[[str], str], tail: str) -> None:
    old = TEXT + tail
    assert isinstance(outcome(old, {}), Manifest)
    assert alike(outcome(edit(old), {}), afresh(edit(old)))
    assert alike(outcome(old, {}), afresh(old))


def test_everything_else_that_a_manifest_depends_on(tmp_path: Path) -> None:
    text = TEXT.replace("workers: 2", "workers: ${MANY:-2}").replace("rq worker one", "rq ${ONE:-}")
    edited = text.replace("worker four", "worker vier")
    for environ in ({}, {"MANY": "5"}, {"MANY": "5", "ONE": "1"}, {"MANY": "x"}):
        for each in (text, edited):
            assert alike(outcome(each, environ), afresh(each, environ))
    for path in (PATH, PATH.with_name("another.yaml"), tmp_path / "procq.yaml"):
        found = load_text(text.encode(), path, {})
        reading._again = again.Again()
        assert found == load_text(text.encode(), path, {})


def test_the_budget_holds_for_all_queues() -> None:
    text = TEXT + "host:\n  budget:\n    workers: 6\n"
    for number in ("3", "4", "2", "4..9", "1..2"):
        edited = text.replace("workers: 2", f"workers: {number}")
        assert alike(outcome(edited, {}), afresh(edited))


def test_log_files_may_not_get_into_each_other_s_way() -> None:
    text = TEXT.replace("workers: 2", "workers: 2\n    logs:\n      file: two.log")
    for file in ("two.log", "two.log.idx", "three.log"):
        edited = text.replace("four: rq worker four", f"four:\n    command: rq\n    logs:\n      file: {file}")
        assert edited != text
        assert isinstance(outcome(text, {}), Manifest)
        assert alike(outcome(edited, {}), afresh(edited))
        assert isinstance(afresh(edited), Manifest) is not file.endswith(".idx")


def test_a_file_beside_it_may_change_meanwhile(tmp_path: Path) -> None:
    text = TEXT.replace("workers: 2", "env_file: .env").encode()
    for value in ("1", "2"):
        (tmp_path / ".env").write_text(f"VALUE={value}\n")
        assert load_text(text, tmp_path / "procq.yaml", {}).queues["two"].env["VALUE"] == value


def test_files_of_variables_for_all_queues_are_read_again(tmp_path: Path, texts: list[str]) -> None:
    """As are those of single queues, whose manifest is read as a whole."""
    head = "env_file:\n  - .env\n"
    own = TEXT.replace("rq worker one   # the first", "\n    command: rq ${ONE}\n    env_file: one.env")
    edits = [TEXT.replace("workers: 2", f"workers: {n}\n    directory: ${{PLACE}}") for n in range(3)]
    edits += [own, own.replace("workers: 2", "workers: 5"), own.replace("one.env", ".env"), edits[0]]
    quick = []
    for place, text in [("a", edits[0]), ("a", edits[1]), ("b", edits[1]), *(("b", text) for text in edits)]:
        for name in (".env", "one.env"):
            (tmp_path / name).write_text(f"PLACE=/{place}\nONE=1\n")
        texts.clear()
        found = load_text((head + text).encode(), tmp_path / "procq.yaml", {})
        quick.append(sum(map(len, texts)) < len(head + text))
        kept, reading._again = reading._again, again.Again()
        assert found == load_text((head + text).encode(), tmp_path / "procq.yaml", {})
        reading._again = kept
    assert quick == [False, True, False, True, True, True, False, False, False, True]
    (tmp_path / ".env").unlink()
    with pytest.raises(ManifestError, match=r"\.env cannot be read"):
        load_text((head + edits[0]).encode(), tmp_path / "procq.yaml", {})


def test_there_may_be_no_more_values_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(outcome(TEXT, {}), Manifest)
    monkeypatch.setattr(again, "MAX_NODES", 40)
    monkeypatch.setattr(nodes, "MAX_NODES", 40)
    more = TEXT.replace("      NOTE", "".join(f"      A{n}: b\n" for n in range(12)) + "      NOTE")
    assert isinstance(outcome(more, {}), list)


FRAGMENTS = st.sampled_from(
    [
        *TEXT.splitlines(keepends=True),
        *["'", '"', "|", ">", ":", "-", "#", "?", "\n", "\t", "x"],
        " ",
        "\n  ",
        "\n    ",
        "---\n",
        "...\n",
    ]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), FRAGMENTS | st.just("")), max_size=6))
def test_any_edits_of_a_text(tailed: bool, edits: list[tuple[float, int, str]]) -> None:
    text = TEXT + TAIL if tailed else TEXT
    assert isinstance(outcome(text, {}), Manifest)
    for at, dropped, put in edits:
        place = int(at * len(text))
        text = text[:place] + put + text[place + dropped :]
        assert alike(outcome(text, {}), afresh(text))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MANIFESTS, MANIFESTS, st.integers(0, 2**32))
def test_any_edits_of_queues(one: object, other: object, seed: int) -> None:
    """Queues of one manifest become those of another, one after the other."""
    assert isinstance(one, tuple) and isinstance(other, tuple)
    queues: dict[str, Queue] = dict(one[1])
    for name, changed in zip(list(queues), other[1].values(), strict=False):
        queues[name] = changed
        named = {
            key: Queue(key, shlex.join(q.argv), q.argv, q.workers, q.directory, q.env, q.stop, q.restart, q.logs)
            for key, q in queues.items()
        }
        text = print_manifest(Manifest(one[0], named, DIRECTORY), random.Random(seed))
        found = outcome(text, {})
        assert alike(found, afresh(text))
        assert found == Manifest(one[0], named, DIRECTORY)
