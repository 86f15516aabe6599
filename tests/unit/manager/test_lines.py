"""Lines out of pieces."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from procq.manager.lines import Line, Splitter


def piece(data: bytes, *, at: float = 1.0, stream: str = "stdout", worker: str = "a.1") -> dict[str, Any]:
    partial = not data.endswith(b"\n")
    return {
        "t": "output",
        "worker": worker,
        "stream": stream,
        "time": round(at * 1e9),
        "data": data,
        "partial": partial,
    }


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])), st.data())
def test_lines_do_not_depend_on_how_output_is_cut(text: str, data: st.DataObject) -> None:
    whole = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    split = Splitter()
    found: list[Line] = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        if start < end:
            found += split.lines(piece(whole[start:end]))
    found += split.rest("a.1")
    expected = text.split("\n")
    assert [line.text for line in found] == (expected if expected[-1] else expected[:-1])


def test_streams_and_workers_are_kept_apart_and_a_line_has_the_time_of_its_beginning() -> None:
    split = Splitter()
    assert split.lines(piece(b"out", at=1)) == []
    assert split.lines(piece(b"err\n", at=2, stream="stderr")) == [Line("a.1", "stderr", 2, "err")]
    assert split.lines(piece(b"put\nmore\n", at=3)) == [
        Line("a.1", "stdout", 1, "output"),
        Line("a.1", "stdout", 3, "more"),
    ]


def test_what_is_missing_is_told_with_the_next_line() -> None:
    split = Splitter()
    assert split.lines({"t": "gap", "bytes": 5}) == []
    assert split.lines({"t": "gap", "bytes": 2}) == []
    assert [line.missing for line in split.lines(piece(b"a\nb\n"))] == [7, 0]
    assert split.rest("a.1") == []
    split.lines({"t": "gap", "bytes": 3})
    assert [(line.worker, line.text, line.missing) for line in split.rest("a.1")] == [("a.1", "", 3)]


def test_a_line_without_end_is_handed_out_before_it_fills_the_memory() -> None:
    split = Splitter()
    chunk = b"x" * (1 << 16)
    found = [line for _ in range(40) for line in split.lines(piece(chunk))]
    assert len(found) >= 2
    assert all(len(line.text) <= (1 << 20) + len(chunk) for line in found)


def test_what_is_no_text_is_replaced_and_a_terminals_line_ends_are_ends() -> None:
    assert [str(line) for line in Splitter().lines(piece(b"\xff\r\n"))] == ["\N{REPLACEMENT CHARACTER}"]
