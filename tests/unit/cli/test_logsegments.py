"""Compressed log files, and files that are renamed, compressed and removed while somebody reads them."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest

from procq.cli.logfiles import Files, Place
from procq.cli.logsegments import listed
from tests.unit.cli.test_loghistory import NOW, ONE, index, place, rotated, said


def compress(path: Path, origin: tuple[int, int, int, int] | None = None, *, remove: bool = True) -> Path:
    """As the keeper does it. `origin`: another device, inode, size and time than those of the file."""
    status, text = path.stat(), path.read_bytes()
    made_of = origin or (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    extra = b"PQ\x20\x00" + struct.pack("<QQQQ", *made_of)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    header = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff" + struct.pack("<H", len(extra)) + extra
    trailer = struct.pack("<II", zlib.crc32(text), len(text) & 0xFFFFFFFF)
    target = Path(f"{path}.gz")
    target.write_bytes(header + packer.compress(text) + packer.flush() + trailer)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
    if remove:
        path.unlink()
    return target


def shift(path: Path) -> None:
    """One rotation; the new file is empty."""
    for number in (3, 2, 1, 0):
        name = f"{path}.{number}" if number else f"{path}"
        for form in ("", ".gz", ".idx"):
            if os.path.exists(name + form) and (number or form != ".gz"):
                os.rename(name + form, f"{path}.{number + 1}{form}")
    path.touch()


def forward(files: Files, since: float | None = None) -> list[str]:
    return said([line for _, line in files.forward(since)])


@pytest.mark.parametrize("compressed", [(".2",), (".1", ".2")])
def test_compressed_files_are_read_with_their_times_from_both_ends(tmp_path: Path, compressed: tuple[str, ...]) -> None:
    path, lines = rotated(tmp_path)
    for suffix in compressed:
        compress(Path(f"{path}{suffix}"))
    files = Files(place(path), pytest.fail)
    assert [line.at for _, line in files.forward()] == [NOW + n for n in range(12)]
    assert forward(files) == lines
    assert [line for _, line in files.backward()] == [line for _, line in files.forward()][::-1]
    assert [at for at, _ in files.backward()] == [at for at, _ in files.forward()][::-1]
    for since in range(12):
        read = forward(files, NOW + since)
        assert read[-12 + since :] == lines[since:]
        assert len(read) <= 13 - since, "one more where a file was closed at that very time"


def test_a_compressed_file_larger_than_memory_holds_is_read_backwards(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.touch()
    lines = [b"%099d" % n for n in range(200_000)]
    Path(f"{path}.1").write_bytes(b"\n".join(lines) + b"\n")
    compress(Path(f"{path}.1"))
    newest = Files(place(path), pytest.fail).backward()
    assert [next(newest)[1].data for _ in range(3)] == lines[:-4:-1]
    assert sum(1 for _ in newest) == len(lines) - 3


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("rotations", [0, 1, 2])
def test_what_is_compressed_and_moved_on_while_it_is_read_is_read_once(
    tmp_path: Path, rotations: int, begun: bool
) -> None:
    path, lines = rotated(tmp_path)
    files = Files(place(path), pytest.fail)
    reading = files.forward()
    read = [next(reading)[1]] if begun else []
    for _ in range(rotations):
        shift(path)
    for number in range(1, 5):
        closed = Path(f"{path}.{number}")
        if closed.exists():
            compress(closed)
    assert said([*read, *(line for _, line in reading)]) == lines
    assert said([line for _, line in files.backward()]) == lines[::-1]


def test_a_new_file_that_has_got_the_inode_of_a_compressed_one_is_not_taken_for_it(tmp_path: Path) -> None:
    path, lines = rotated(tmp_path)
    files = Files(place(path), pytest.fail)
    old = path.stat()
    origin = old.st_dev, old.st_ino, old.st_size, old.st_mtime_ns
    # The same inode, as after the removal of the old file: larger, and newer.
    closed = Path(f"{path}.1-")
    shutil.copy2(path, closed)
    path.write_text("somebody else's line\n" * 100)
    for number in (2, 1):
        os.rename(f"{path}.{number}", f"{path}.{number + 1}")
        os.rename(f"{path}.{number}.idx", f"{path}.{number + 1}.idx")
    os.rename(closed, f"{path}.1")
    compress(Path(f"{path}.1"), origin)
    assert forward(files) == lines
    # And the other way round: what was made of an earlier file of that inode is not this one.
    now = Files(place(path), pytest.fail)
    assert forward(now) == [*lines, *["somebody else's line"] * 100]


def test_a_file_of_which_both_forms_are_there_is_read_once(tmp_path: Path) -> None:
    path, lines = rotated(tmp_path)
    compress(Path(f"{path}.1"), remove=False)
    assert forward(Files(place(path), pytest.fail)) == lines
    # Of somebody else, however: both are read.
    Path(f"{path}.2.gz").write_bytes(gzip.compress(b"stranger\n"))
    assert forward(Files(place(path), pytest.fail)) == ["stranger", *lines]


def test_a_compressed_file_that_somebody_else_has_made_is_read(tmp_path: Path) -> None:
    path, lines = rotated(tmp_path)
    old = Path(f"{path}.2")
    Path(f"{path}.2.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    files = Files(place(path), pytest.fail)
    assert forward(files) == lines
    assert said([line for _, line in files.backward()]) == lines[::-1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no gzip"])
def test_a_damaged_file_is_told_and_the_others_are_read(tmp_path: Path, damage: str) -> None:
    path, lines = rotated(tmp_path, (300, 4, 5))
    target = compress(Path(f"{path}.2"))
    whole = target.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "empty": b"",
        "no gzip": b"x" * 1000,
    }
    target.write_bytes(damaged[damage])
    complaints: list[str] = []
    files = Files(place(path), complaints.append)
    assert forward(files)[-9:] == lines[-9:]
    assert said([line for _, line in files.backward()])[:9] == lines[:-10:-1]
    assert bool(complaints) == (damage != "empty"), "nothing is what an empty file has"


def test_a_planted_link_with_the_name_of_a_compressed_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.gz").write_bytes(gzip.compress(b"secret\n"))
    (tmp_path / "a.log").write_text("mine\n")
    os.symlink(tmp_path / "secret.gz", tmp_path / "a.log.1.gz")
    complaints: list[str] = []
    owner = (os.getuid(), os.getgid())
    planted = Files(Place(str(tmp_path / "a.log"), "text", ONE, owner), complaints.append)
    assert [*planted.forward()] == []
    assert complaints == ["it is a link, which is not followed"]


def test_a_log_whose_own_name_ends_like_a_compressed_one(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_text("new\n")
    index(path, (0, NOW + 1))
    Path(f"{path}.1").write_text("old\n")
    index(Path(f"{path}.1"), (0, NOW))
    compress(Path(f"{path}.1"))
    lines = [line for _, line in Files(place(path), pytest.fail).forward()]
    assert [(line.data, line.at) for line in lines] == [(b"old", NOW), (b"new", NOW + 1)]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path, _ = rotated(tmp_path)
    compress(Path(f"{path}.1"))
    before = len(os.listdir("/proc/self/fd"))
    files = Files(place(path), pytest.fail)
    assert [*files.forward(), *files.backward()]
    for begun in (files.forward(), files.backward()):
        next(begun)
        begun.close()  # type: ignore[attr-defined]
    assert len(listed(str(path), owned=False)) == 3
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("when", ["listed", "read forward", "read backward"])
def test_a_rotation_in_the_midst_of_a_look_at_the_directory_hides_no_file(
    tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lines = rotated(tmp_path)
    look, rotations = os.lstat, iter([True])

    def rotates(at: str) -> os.stat_result:
        # The others have been looked at by now: the one that has been written to takes the name of one of these.
        if at == str(path) and next(rotations, False):
            shift(path)
        return look(at)

    if when == "listed":
        monkeypatch.setattr(os, "lstat", rotates)
    files = Files(place(path), pytest.fail)
    monkeypatch.setattr(os, "lstat", rotates)
    if when == "read backward":
        assert said([line for _, line in files.backward()]) == lines[::-1]
    assert forward(files) == lines
    assert next(rotations, None) is None, "it took place"
