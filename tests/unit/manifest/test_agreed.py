"""What strictyaml has agreed to is remembered between runs, and never believed from where others can write."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import strictyaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procq.errors import ManifestError
from procq.manifest import agreed, load_text, strict
from procq.manifest.agreed import MOST, SIZE, Agreed, directory
from procq.model import Manifest, Queue
from tests.unit.manifest.test_random import DIRECTORY, MANIFESTS, print_manifest

ONE, TWO, THREE = (bytes([n]) * SIZE for n in (1, 2, 3))


@pytest.fixture(autouse=True)
def from_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreed, "_RECALL_AFTER", 1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "procq"


def memory(place: Path, key: bytes = b"key of 16 bytes.") -> Agreed:
    return Agreed(lambda: str(place), lambda: key)


def wrote(place: Path, *digests: bytes, key: bytes = b"key of 16 bytes.") -> Path:
    """The file of a process that was told `digests`."""
    one = memory(place, key)
    one.knows(bytes(SIZE))
    for digest in digests:
        one.add(digest)
    one.flush()
    return place / f"agreed-{key.hex()}"


def known(place: Path, *digests: bytes, key: bytes = b"key of 16 bytes.") -> list[bool]:
    another = memory(place, key)
    return [another.knows(digest) for digest in digests]


def test_the_next_process_knows(place: Path) -> None:
    file = wrote(place, ONE, TWO)
    assert known(place, ONE, TWO, THREE) == [True, True, False]
    assert file.read_bytes().endswith(ONE + TWO)
    assert [path.stat().st_mode & 0o777 for path in (place.parent, place, file)] == [0o700, 0o700, 0o600]
    assert os.listdir(place) == [file.name]


def test_another_version_does_not_know(place: Path) -> None:
    wrote(place, ONE)
    assert known(place, ONE, key=b"another version!") == [False]
    wrote(place, TWO, key=b"another version!")
    assert known(place, ONE, TWO) == [True, False]


def test_two_at_once_add_to_each_other(place: Path) -> None:
    first, second = memory(place), memory(place)
    assert not first.knows(THREE) and not second.knows(THREE)
    first.add(ONE)
    second.add(TWO)
    first.flush()
    second.flush()
    assert known(place, ONE, TWO) == [True, True]


def test_it_is_written_soon_or_at_the_end(place: Path) -> None:
    """In another thread where the process goes on, before the end where it does not."""
    script = f"""
from procq.manifest.agreed import Agreed
one = Agreed(lambda: {str(place)!r}, lambda: b"key of 16 bytes.")
for n in range(10):
    one.knows(bytes([n]) * 16)
    one.add(bytes([n]) * 16)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert known(place, ONE, TWO, b"x" * SIZE) == [True, True, False]


def test_a_forked_child_waits_for_no_thread_of_its_parent(place: Path) -> None:
    script = f"""
import os, signal
from procq.manifest.agreed import Agreed
one = Agreed(lambda: {str(place)!r}, lambda: b"key of 16 bytes.")
with one._lock, one._writing:
    child = os.fork()
    if not child:
        signal.alarm(20)  # where it waits, it waits for ever
        one.knows(b"x" * 16)
        one.add(b"x" * 16)
        one.flush()
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


def test_a_small_manifest_leaves_no_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreed, "_RECALL_AFTER", 3)
    one = memory(place)
    for digest in (ONE, TWO):
        assert not one.knows(digest)
        one.add(digest)
    one.flush()
    assert not place.exists()


def test_the_oldest_are_forgotten(place: Path) -> None:
    digests = [n.to_bytes(SIZE, "big") for n in range(1, MOST + 11)]
    file = wrote(place, *digests)
    assert file.stat().st_size == len(agreed._MAGIC) + SIZE + MOST * SIZE
    assert known(place, digests[-1], digests[10], digests[9]) == [True, True, False]


def test_a_damaged_file_is_ignored(place: Path) -> None:
    file = wrote(place, ONE, TWO)
    whole = file.read_bytes()
    damaged = [whole[:end] for end in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in range(len(whole))]
    damaged += [whole + b"x" * SIZE, whole * MOST]
    for data in damaged:
        file.write_bytes(data)
        assert known(place, ONE, TWO) == [False, False]
    assert known(wrote(place, THREE).parent, THREE) == [True]


def spoil(place: Path, file: Path, how: str) -> None:
    match how:
        case "directory of everybody":
            place.chmod(0o777)
        case "directory of a group":
            place.chmod(0o770)
        case "file of everybody":
            file.chmod(0o666)
        case "linked directory":
            place.rename(place.parent / "elsewhere")
            place.symlink_to("elsewhere")
        case "linked file":
            file.rename(place / "elsewhere")
            file.symlink_to("elsewhere")
        case "fifo":
            file.unlink()
            os.mkfifo(file, 0o600)
        case "no directory":
            file.unlink()
            place.rmdir()
            place.write_text("")
        case "directory of somebody else":
            os.chown(place, 1234, 1234)
        case "file of somebody else":
            os.chown(file, 1234, 1234)


SPOILT = ["directory of everybody", "directory of a group", "file of everybody", "linked directory", "linked file"]
SPOILT += ["fifo", "no directory"]
if os.geteuid() == 0:
    SPOILT += ["directory of somebody else", "file of somebody else"]


@pytest.mark.parametrize("how", SPOILT)
def test_what_others_may_have_written_is_not_believed(place: Path, how: str) -> None:
    file = wrote(place, ONE)
    spoil(place, file, how)
    assert known(place, ONE) == [False]
    before = sorted(os.listdir(place)) if place.is_dir() else None
    wrote(place, TWO)
    if "directory" in how:
        assert known(place, TWO) == [False]
        assert (sorted(os.listdir(place)) if place.is_dir() else None) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be in the home of somebody else")
def test_nothing_is_made_in_the_home_of_somebody_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1234, 1234)
    wrote(home / ".cache" / "procq", ONE)
    assert os.listdir(home) == []


@pytest.mark.parametrize("fails", ["rename", "mkdir", "listdir", "open"])
def test_a_disk_that_takes_nothing_is_no_error(place: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    one = memory(place)
    with monkeypatch.context() as patch:
        patch.setattr(os, fails, refuse)
        assert not one.knows(ONE)
        one.add(ONE)
        one.flush()
        assert one.knows(ONE)
    assert not place.exists() or all(not name.count(".") for name in os.listdir(place))


def test_what_is_left_behind_is_taken_out(place: Path) -> None:
    wrote(place, ONE)
    for n in range(9):
        old = place / f"agreed-{n:032x}"
        old.write_bytes(b"old")
        os.utime(old, (n, n))
    (place / f"agreed-{0:032x}.0123456789ab").write_bytes(b"never finished")
    os.utime(place / f"agreed-{0:032x}.0123456789ab", (1, 1))
    (place / f"agreed-{0:032x}.ba9876543210").write_bytes(b"being written")
    (place / "not ours").write_bytes(b"x")
    wrote(place, TWO)
    assert known(place, ONE, TWO) == [True, True]
    assert len(os.listdir(place)) == 4 + 2
    assert {f"agreed-{0:032x}.ba9876543210", "not ours", f"agreed-{8:032x}"} < set(os.listdir(place))


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/procq"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/procq"),
        ({"XDG_CACHE_HOME": "c", "HOME": "/h"}, "/h/.cache/procq"),
        ({"HOME": "h"}, None),
        ({}, None),
    ],
)
def test_where_it_is(environ: dict[str, str], found: str | None) -> None:
    assert directory(environ) == found


# --- manifests ----------------------------------------------------------------------------------------------------

SECRET = "hunter2-and-more"
SLIPS = st.sampled_from([b"", b":", b"\n", b" ", b"'", b"-", b"\t", b"#", b"workers: many\n"])


class Credulous(Agreed):
    """As if somebody had forged every digest."""

    def __init__(self) -> None:
        super().__init__(lambda: None, bytes)

    def knows(self, digest: bytes) -> bool:
        return True


def outcome(text: bytes) -> Manifest | tuple[str, ...]:
    try:
        return load_text(text, Path(DIRECTORY) / "procq.yaml", {"MANY": "3"})
    except ManifestError as error:
        return tuple(map(str, error.problems))


@pytest.fixture
def restored() -> Iterator[None]:
    before = strict._agreed
    yield
    strict._agreed = before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MANIFESTS, st.integers(0, 2**32), st.floats(0, 1), SLIPS)
def test_what_is_remembered_changes_no_meaning_and_no_error(
    restored: None, tmp_path_factory: pytest.TempPathFactory, parts: object, seed: int, at: float, slip: bytes
) -> None:
    assert isinstance(parts, tuple)
    name, queues = parts
    named = {
        key: Queue(key, shlex.join(q.argv), q.argv, q.workers, q.directory, q.env, q.stop, q.restart, q.logs)
        for key, q in queues.items()
    }
    text = print_manifest(Manifest(name, named, DIRECTORY), random.Random(seed)).encode()
    place = int(at * len(text))
    text = text[:place] + slip + text[place:]
    cache = tmp_path_factory.mktemp("cache") / "procq"
    strict._agreed = Agreed(lambda: None, bytes)
    without = outcome(text)
    assert outcome(text) == without
    strict._agreed = memory(cache)
    assert outcome(text) == without
    assert outcome(text) == without
    strict._agreed.flush()
    strict._agreed = memory(cache)
    assert outcome(text) == without
    if isinstance(without, Manifest):
        assert cache.exists()
        strict._agreed = Credulous()
        assert outcome(text) == without


def test_only_digests_are_written_and_read_for_the_same_text_alone(
    restored: None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = strictyaml.load

    def load(text: str, schema: object) -> object:
        asked.append(text)
        return real(text, schema)

    monkeypatch.setattr(strictyaml, "load", load)
    text = f"queues:\n  emails:\n    command: rq\n    env:\n      PASSWORD: {SECRET}\n  reports: rq ${{MANY}}\n"
    for expected in (3, 0):
        strict._agreed = memory(place)
        assert isinstance(outcome(text.encode()), Manifest)
        strict._agreed.flush()
        assert len(asked) == expected
        asked.clear()
    strict._agreed = memory(place)
    assert isinstance(outcome(text.replace(SECRET, "another").encode()), Manifest)
    assert len(asked) == 1
    for file in place.iterdir():
        data = file.read_bytes()
        assert SECRET.encode() not in data and b"rq" not in data and b"emails" not in data
