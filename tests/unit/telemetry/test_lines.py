"""Output as records of a log: one a line, in the order in which it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from procq.telemetry.lines import Lines, Piece
from procq.telemetry.logs import Severity
from procq.telemetry.spans import Context

CAP = 65_536
"""Bytes at which the keeper cuts a line."""


def bodies(*data: bytes, partial: bool = False, generation: int = 1) -> list[str]:
    """Of pieces of one stream; where `partial`, all but the last one go on."""
    lines = Lines()
    last = len(data) - 1
    pieces = (
        Piece("w.1", "stdout", 1.0, each, partial and place < last, generation) for place, each in enumerate(data)
    )
    return [record.text for piece in pieces for record in lines.records(piece, 2.0)]


def test_a_line_is_a_record_with_what_is_known_of_it() -> None:
    piece = Piece.of(
        {"worker": "a.b.3", "stream": "stderr", "time": 12_500_000_000, "data": b"one\n\ntwo\n", "partial": False}
        | {"generation": 7}
    )
    records = Lines(lambda generation: Context(1, generation)).records(piece, 13.0)
    assert [record.text for record in records] == ["one", "", "two"]
    for record in records:
        assert (record.at, record.observed, record.kind) == (12.5, 13.0, "")
        assert record.severity is Severity.UNSPECIFIED
        assert record.context == Context(1, 7)
        assert record.attributes == {
            "log.iostream": "stderr",
            "procq.queue": "a.b",
            "procq.worker": "a.b.3",
            "procq.generation": 7,
        }


def test_of_a_keeper_that_does_not_say_whose_it_is() -> None:
    piece = Piece.of({"worker": "a.1", "stream": "stdout", "time": 0, "data": b"x\n", "partial": False})
    (record,) = Lines(lambda _: Context(1, 2)).records(piece, 1.0)
    assert "procq.generation" not in record.attributes
    assert record.context is None


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x1b[31mred\x1b[0m and \x1b[1;4mmore\x1b[m\n", "red and more"),
        (b"\x1b]0;a title\x07text\n", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "link"),
        (b"\x1b(B\x1b[?25lhidden\n", "hidden"),
        (b"of a terminal\r\n", "of a terminal"),
        (b"50%\r100%\r\n", "50%\r100%"),
        (b"caf\xc3\xa9 \xff\xfe\n", "café \ufffd\ufffd"),
        (b"\xe2\x82\n", "\ufffd"),
        (b"a\x00b\tc\n", "a\x00b\tc"),
    ],
)
def test_bodies_are_text_without_commands_to_a_terminal(data: bytes, line: str) -> None:
    assert bodies(data) == [line]


def test_a_command_that_does_not_end_takes_no_other_line_along() -> None:
    assert bodies(b"\x1b]0;no end\nnext\n") == ["", "next"]


def test_a_line_without_an_end_is_one() -> None:
    assert [r.text for r in Lines().records(Piece("w.1", "stdout", 1.0, b"end", True, 1), 2.0)] == ["end"]


def test_a_long_line_is_as_many_records_as_it_was_cut_into() -> None:
    part = b"x" * CAP
    assert bodies(part, part, b"rest\nnext\n", partial=True) == ["x" * CAP, "x" * CAP, "rest", "next"]
    # Its end comes by itself where the line is just as long as it may be.
    assert bodies(part, b"\n", partial=True) == ["x" * CAP]
    assert bodies(part, b"\n\nnext\n", partial=True) == ["x" * CAP, "", "next"]


def test_an_empty_line_of_the_next_worker_is_not_the_end_of_the_last_one_s() -> None:
    lines = Lines()
    lines.records(Piece("w.1", "stdout", 1.0, b"no end", True, 1), 1.0)
    assert [r.text for r in lines.records(Piece("w.1", "stdout", 1.0, b"\n", False, 2), 1.0)] == [""]
    lines.records(Piece("w.1", "stdout", 1.0, b"goes on", True, 2), 1.0)
    assert [r.text for r in lines.records(Piece("w.1", "stderr", 1.0, b"\n", False, 2), 1.0)] == [""]
    assert lines.records(Piece("w.1", "stdout", 1.0, b"\n", False, 2), 1.0) == []


@given(some.lists(some.text(some.characters(exclude_characters="\n\r\x1b", codec="utf-8")), min_size=1))
def test_whatever_is_written_comes_out_line_by_line(texts: list[str]) -> None:
    assert bodies("".join(f"{text}\n" for text in texts).encode()) == texts
