"""What is not a text, or a text made to hurt: refused quickly, with the place, and as nothing but ManifestError."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.errors import ManifestError
from procq.manifest import load, load_text
from procq.manifest.source import MAX_PROBLEMS
from procq.model import Manifest

YAML = Path("procq.yaml")
PROCFILE = Path("Procfile")
GOOD = b"queues:\n  emails: rq worker\n"


def problems(data: bytes, path: Path = YAML) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load_text(data, path, {})
    return [f"{p.line}:{p.column} {p.message}" for p in caught.value.problems]


@pytest.mark.parametrize("path", [YAML, PROCFILE])
@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a: b\nc: \xff\xfe\n", "2:4 this is not UTF-8 text"),
        ("a: b\r\nä: ".encode() + b"\xe4\r\n", "2:4 this is not UTF-8 text"),
        (b"a: b\x00\n", "1:5 the invisible character U+0000 is not allowed in a manifest"),
        (b"a: b\x1b[31m\n", "1:5 the invisible character U+001B is not allowed in a manifest"),
        (b"a: b\rc: d\n", "1:5 the invisible character U+000D is not allowed in a manifest"),
        ("a: x\u202ey\n".encode(), "1:5 the invisible character U+202E is not allowed in a manifest"),
        ("a: x\u2028y\n".encode(), "1:5 the invisible character U+2028 is not allowed in a manifest"),
        (b"#" * ((1 << 20) + 1), "0:0 the file is larger than 1 MiB"),
    ],
)
def test_what_is_not_plain_text(path: Path, data: bytes, place: str) -> None:
    assert problems(data, path) == [place]


def test_a_binary_file_tells_no_more_than_anybody_reads() -> None:
    assert len(problems(b"\x01\n" * 10_000)) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD + b"...\n", b"---\n" + GOOD]
)
def test_harmless_ways_to_write_the_same(data: bytes) -> None:
    assert load_text(data, YAML, {}) == load_text(GOOD, YAML, {})


def billion_laughs() -> bytes:
    lines = ["a0: &a0 lol"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "data",
    [
        billion_laughs(),
        b"[" * 100_000,
        b"{" * 100_000,
        b"- " * 100_000,
        b"queues:\n" + b"".join(b" " * n + b"a:\n" for n in range(1, 1000)),
        b"queues:\n" + b"  a: *x y\n" * 50_000,
        b"queues:\n  a: @" + b" " * 900_000 + b"x\n",
        b"a: b\n" * 200_000,
        b"? " * 100_000,
        b"'" * 500_000,
        b"queues:\n  a:\n    command: x\n    env:\n" + b"".join(b"      A%d: b\n" % n for n in range(20_000)),
        b"queues:\n" + b"".join(b"  q%d:\n    workers: 1\n" % n for n in range(20_000)),
    ],
    ids=[
        "laughs",
        "brackets",
        "braces",
        "dashes",
        "deep",
        "repairs",
        "spaces",
        "keys",
        "questions",
        "quotes",
        "env",
        "no commands",
    ],
)
def test_texts_made_to_hurt_are_refused_quickly(data: bytes) -> None:
    start = time.process_time()
    assert problems(data)
    assert time.process_time() - start < 10  # they would take minutes, or all memory; seconds allow for a slow machine


def outcome(data: bytes, path: Path, environ: Mapping[str, str]) -> Manifest | None:
    try:
        return load_text(data, path, environ)
    except ManifestError as error:
        assert error.problems
        assert error.render() and error.render(color=True)
        return None


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    outcome(data, YAML, {})
    outcome(data, PROCFILE, {})


WORDS = """
queues: name: env: defaults:
command: workers: stop: restart: logs: a b: - ? | > & * ! % @ ` ' " [ ] { } , # : ~ << --- ...
${A} ${A:-b} ${ $${ 30s always no rq \\ é
"""
FRAGMENTS = st.sampled_from([*WORDS.split(), "\n", "\n  ", "\n    ", "\n      ", "\t", " ", "  "])


@settings(max_examples=300)
@given(st.lists(FRAGMENTS, max_size=30).map("".join))
def test_arbitrary_yaml_raises_nothing_else(text: str) -> None:
    outcome(text.encode(), YAML, {"A": "1"})
    outcome(("queues:\n  a:\n    command: " + text).encode(), YAML, {})


EVERYTHING = b"""\
name: shop
env:
  A: "b"
defaults:
  stop:
    grace: 3s
queues:
  emails: rq worker 'a b'
  reports:
    command:
      - rq
      - worker
    workers: 2
    restart:
      policy: never
      backoff: 1s..2s
    logs:
      file: logs/{queue}.log
"""


@given(
    st.integers(0, len(EVERYTHING)),
    st.integers(0, 3),
    st.sampled_from([b"", b":", b"\n", b" ", b"'", b"-", b"\t", b"#"]),
)
def test_a_good_file_with_a_slip_raises_nothing_else(at: int, dropped: int, put: bytes) -> None:
    outcome(EVERYTHING[:at] + put + EVERYTHING[at + dropped :], YAML, {})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    for name, message in [
        ("missing.yaml", "the file cannot be read: No such file or directory"),
        ("fifo.yaml", "this is not a regular file"),
        (".", "the file cannot be read: Is a directory"),
    ]:
        with pytest.raises(ManifestError) as caught:
            load(tmp_path / name, {})
        assert [p.message for p in caught.value.problems] == [message]
