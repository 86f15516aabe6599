"""Output read back from memory and files: each line once, in order, with the times that are known."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from procq.cli.logfiles import Files, Line, Place
from procq.cli.loghistory import History, beginning
from procq.cli.render.logs import line_json
from procq.client import Output

NOW = 1_800_000_000.0
ONE = ("a.1",)


def index(path: Path, *records: tuple[int, float]) -> None:
    data = b"".join(struct.pack("<QQ", offset, round(at * 1e9)) for offset, at in records)
    Path(f"{path}.idx").write_bytes(data)


def place(path: Path, form: str = "text", workers: tuple[str, ...] = ONE) -> Place:
    return Place(str(path), form, workers)


def said(lines: Sequence[Line]) -> list[str]:
    return [line.data.decode() for line in lines]


def out(text: bytes, at: float = NOW, worker: str = "a.1", *, partial: bool = False) -> Output:
    return Output(worker, "stdout", at, text, partial)


def test_where_memory_begins_in_a_file() -> None:
    assert beginning([b"1", b"2", b"3"], [b"2", b"3", b"4"]) == 1
    assert beginning([b"1", b"2", b"3", b"4"], [b"2", b"3"]) == 1, "newer lines behind it"
    assert beginning([b"1"], [b"2"]) is None
    assert beginning([b"x"] * 10, [b"x"] * 3) == 7
    assert beginning([], [b"x"]) is None


def test_where_memory_begins_is_found_however_lines_repeat() -> None:
    random = Random(7)
    for _ in range(500):
        lines = [random.choice([b"a", b"b", b""]) for _ in range(random.randrange(1, 30))]
        memory = lines[random.randrange(len(lines)) :]
        file = lines[: random.randrange(len(lines) - len(memory), len(lines) + 1)]
        at = beginning(file, memory)
        joined = file[: len(file) if at is None else at] + memory
        assert len(joined) <= len(lines)
        assert joined[-len(memory) :] == memory
        if len(set(lines)) == len(lines):
            assert joined == lines


def rotated(tmp_path: Path, sizes: Sequence[int] = (3, 4, 5)) -> tuple[Path, list[str]]:
    """FILE.2, FILE.1 and FILE with numbered lines, a line a second, and the time of each in the index."""
    path, number, lines = tmp_path / "a.log", 0, []
    for suffix, size in zip((".2", ".1", ""), sizes, strict=True):
        file = Path(f"{path}{suffix}")
        text, records = "", []
        for _ in range(size):
            records.append((len(text), NOW + number))
            text += f"line {number}\n"
            lines.append(f"line {number}")
            number += 1
        file.write_text(text)
        index(file, *records)
        os.utime(file, (NOW + number, NOW + number))
    return path, lines


@pytest.mark.parametrize("remembered", range(13))
@pytest.mark.parametrize("written", [12, 11, 9])
def test_rotated_files_and_memory_make_one_history(tmp_path: Path, remembered: int, written: int) -> None:
    """Memory holds the last lines; the file may not have got them all yet."""
    path, lines = rotated(tmp_path)
    path.write_text("".join(f"{line}\n" for line in lines[7:written]))
    memory = [out(f"line {n}\n".encode(), NOW + n) for n in range(12 - remembered, 12)]
    history = History(place(path), memory, frozenset(ONE), pytest.fail)
    expected = lines if remembered >= 12 - written else [*lines[:written], *lines[12 - remembered :]]
    assert said([*history.since(None), *history.memory]) == expected
    assert said(history.tail(5)) == expected[-5:]
    assert said(history.tail(100)) == expected
    assert history.tail(0) == []


@pytest.mark.parametrize("form", ["text", "prefixed"])
def test_a_file_that_has_not_got_yet_what_memory_no_longer_holds_is_waited_for(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.log"
    prefix = "2027-01-15T08:00:0{n}.000Z a.1 | " if form == "prefixed" else ""
    lines = [f"{prefix.format(n=n)}line {n}\n" for n in range(9)]
    path.write_text("".join(lines[:5]))
    index(path, *((len("".join(lines[:n])), NOW + n) for n in range(5)))
    memory = [out(f"line {n}\n".encode(), NOW + n) for n in range(7, 9)]
    history = History(place(path, form), memory, frozenset(ONE), pytest.fail)
    seen = []
    for written in (5, 7, 8):  # seven are all that memory lacks, but nobody can tell
        path.write_text("".join(lines[:written]))
        history.look_again()
        seen.append(history.lags)
    assert seen == [True, True, False]
    assert said([*history.since(None), *history.memory]) == [f"line {n}" for n in range(9)]


def test_a_file_that_has_lost_lines_is_not_waited_for(tmp_path: Path) -> None:
    path, _ = rotated(tmp_path)
    memory = [out(b"lost\n", NOW + 9.5), out(b"lost as well\n", NOW + 20)]
    assert not History(place(path), memory, frozenset(ONE), pytest.fail).lags
    assert not History(place(path), [], frozenset(ONE), pytest.fail).lags
    assert not History(place(tmp_path / "none.log"), memory, frozenset(ONE), pytest.fail).lags


def test_times_come_from_the_index_and_since_skips_what_is_older(tmp_path: Path) -> None:
    path, lines = rotated(tmp_path)
    files = Files(place(path), pytest.fail)
    assert [line.at for _, line in files.forward()] == [NOW + n for n in range(12)]
    assert said([line for _, line in files.forward(NOW + 5)]) == lines[5:]
    assert [line for _, line in files.backward()] == [line for _, line in files.forward()][::-1]
    assert [at for at, _ in files.backward()] == [at for at, _ in files.forward()][::-1]


@pytest.mark.parametrize("torn", [b"", b"\xff" * 7, b"\xff" * 64])
def test_a_missing_or_torn_index_costs_no_line(tmp_path: Path, torn: bytes) -> None:
    path, lines = rotated(tmp_path)
    Path(f"{path}.1.idx").write_bytes(torn)
    os.remove(f"{path}.idx")
    assert said([line for _, line in Files(place(path), pytest.fail).forward()]) == lines
    assert said([line for _, line in Files(place(path), pytest.fail).forward(NOW + 5)])[-5:] == lines[-5:]


def test_lines_longer_than_a_block_are_read_from_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    lines = [b"a" * 700_000, b"", b"b", b"c" * 300_000, b""]
    path.write_bytes(b"\n".join([*lines, b"no end"]))
    files = Files(place(path), pytest.fail)
    assert [line.data for _, line in files.forward()] == [*lines, b"no end"]
    assert [line.data for _, line in files.backward()] == [b"no end", *reversed(lines)]
    assert [at for at, _ in files.backward()] == [at for at, _ in files.forward()][::-1]


def test_lines_that_say_it_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(
        "older, in text\n"
        "2027-01-15T08:00:00.250Z a.1 | one | two\n"
        "2027-01-15T08:00:01.000Z a.2 ! three\n"
        "2027-01-15T08:00:02.000Z a.1 | four\n"
    )
    memory = [out(b"four\n", NOW + 2), out(b"five\n", NOW + 3)]
    history = History(place(path, "prefixed", ("a.1", "a.2")), memory, frozenset({"a.1"}), pytest.fail)
    assert list(history.since(None)) == [Line(NOW + 0.25, "a.1", "stdout", b"one | two")]
    assert said(history.tail(2)) == ["four", "five"]
    both = History(place(path, "prefixed", ("a.1", "a.2")), [], frozenset({"a.1", "a.2"}), pytest.fail)
    assert Line(NOW + 1, "a.2", "stderr", b"three") in list(both.since(None))


def test_objects_are_read_as_they_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    lines = [Line(NOW + 0.25, "a.1", "stdout", 'say "ü"'.encode()), Line(NOW, "a.1", "stderr", b"\x1b[31mred")]
    path.write_bytes(b"".join(map(line_json, lines)) + b'{"time":1}\n{"time"\n')
    found = [line for _, line in Files(place(path, "json"), pytest.fail).forward()]
    assert found == [*lines, Line(None, "a.1", None, b'{"time":1}'), Line(None, "a.1", None, b'{"time"')]


def test_faults_37_bytes_that_are_no_text_survive_objects(tmp_path: Path) -> None:
    path, every = tmp_path / "a.log", bytes(byte for byte in range(256) if byte != ord("\n"))
    lines = [Line(NOW, "a.1", "stdout", data) for data in (every, b"\xff\xfe", "\ufffd".encode())]
    path.write_bytes(b"".join(map(line_json, lines)))
    assert [line for _, line in Files(place(path, "json"), pytest.fail).forward()] == lines
    invalid = [out(b"\xff\xfe\n")]
    now, before = line_json(lines[1]), line_json(Line(NOW, "a.1", "stdout", "\ufffd\ufffd".encode()))
    for written in (now, before):
        path.write_bytes(written)
        history = History(place(path, "json"), invalid, frozenset(ONE), pytest.fail)
        assert list(history.since(None)) == [], "memory holds it, as it was written"


def test_a_shared_file_of_text_names_the_queue(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\nthree\n")
    memory = [out(b"two\n", NOW, "a.2"), out(b"three\n", NOW + 1, "a.1")]
    history = History(place(path, workers=("a.1", "a.2")), memory, frozenset({"a.1", "a.2"}), pytest.fail)
    assert list(history.since(None)) == [Line(None, "a", None, b"one")]
    assert said(history.tail(2)) == ["two", "three"]


@pytest.mark.parametrize("lag", [0.0, 0.09])
def test_a_worker_that_says_little_hides_nothing_in_a_shared_file(tmp_path: Path, lag: float) -> None:
    """What memory holds of it goes back further than what it holds of the other one."""
    path = tmp_path / "a.log"
    lines = ["quiet", *(f"line {number}" for number in range(3000))]
    text, records = "", []
    for number, line in enumerate(lines):
        records.append((len(text), NOW + number - lag))
        text += f"{line}\n"
    path.write_text(text)
    index(path, *records)
    memory = [out(b"quiet\n", NOW, "a.1")]
    memory += [out(f"{line}\n".encode(), NOW + n, "a.2") for n, line in enumerate(lines) if n > 2990]
    history = History(place(path, workers=("a.1", "a.2")), memory, frozenset(("a.1", "a.2")), pytest.fail)
    assert said([*history.since(None), *history.memory]) == lines
    assert said(history.tail(100)) == lines[-100:]


def test_what_a_shared_file_does_not_hold_is_told_from_memory(tmp_path: Path) -> None:
    """Its queues have been given the file only now."""
    path = tmp_path / "a.log"
    path.write_text("new 1\nnew 2\n")
    index(path, (0, NOW + 50))
    memory = [out(b"old\n", NOW, "a.1"), out(b"new 1\n", NOW + 50, "a.2"), out(b"new 2\n", NOW + 51, "a.1")]
    history = History(place(path, workers=("a.1", "a.2")), memory, frozenset(("a.1", "a.2")), pytest.fail)
    assert said([*history.since(None), *history.memory]) == ["old", "new 1", "new 2"]
    empty = History(place(tmp_path / "b.log", workers=("a.1", "a.2")), memory, frozenset(("a.1", "a.2")), pytest.fail)
    assert said([*empty.since(None), *empty.memory]) == ["old", "new 1", "new 2"]


def test_a_piece_of_a_long_line_is_joined_where_the_file_has_it_in_one(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("before\nlong line\nafter\n")
    memory = [out(b"long ", partial=True), out(b"line\n"), out(b"after\n")]
    history = History(place(path), memory, frozenset(ONE), pytest.fail)
    assert said([*history.since(None), *history.memory]) == ["before", "long line", "after"]


def test_a_link_in_the_place_of_a_users_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    os.symlink(tmp_path / "secret", tmp_path / "a.log")
    owner = (os.getuid(), os.getgid())
    complaints: list[str] = []
    planted = Files(Place(str(tmp_path / "a.log"), "text", ONE, owner), complaints.append)
    assert [*planted.forward(), *planted.backward()] == []
    assert complaints == ["it is a link, which is not followed"]
    assert said([line for _, line in Files(place(tmp_path / "a.log"), pytest.fail).forward()]) == ["secret"]


@pytest.mark.parametrize("path", ["/dev/stdout", "/proc/self/fd/1", "/dev/null", "link"])
def test_what_only_looks_like_a_file_is_not_read(tmp_path: Path, path: str) -> None:
    os.symlink("/dev/stdout", tmp_path / "link")
    files = Files(place(tmp_path / path), pytest.fail)
    assert [*files.forward(), *files.backward()] == []


def test_a_link_to_a_file_leads_to_its_closed_ones_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    _, lines = rotated(tmp_path / "real")
    os.symlink("real/a.log", tmp_path / "link")
    assert said([line for _, line in Files(place(tmp_path / "link"), pytest.fail).forward()]) == lines


def test_an_object_a_line() -> None:
    told = json.loads(line_json(Line(NOW + 0.000001, "a.1", "stderr", b"\xffx")))
    assert told == {
        "time": "2027-01-15T08:00:00.000001Z",
        "worker": "a.1",
        "stream": "stderr",
        "line": "\ufffdx",
        "bytes": "/3g=",
    }
    assert json.loads(line_json(Line(None, "a", None, b""))) == {
        "time": None,
        "worker": "a",
        "stream": None,
        "line": "",
    }
