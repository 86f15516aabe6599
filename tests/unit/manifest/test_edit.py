"""A number of workers is written into a text that a person laid out: one line differs, and the rest means the same."""

from __future__ import annotations

import difflib
import os
import random
import shlex
import stat
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.errors import ManifestError, ProcqError
from procq.manifest import edit, load_text
from procq.manifest.edit import save, set_workers
from procq.model import Manifest, Queue
from tests.unit.manifest.test_random import DIRECTORY, MANIFESTS, print_manifest

SAVED = Path(__file__).with_name("saved")
PATH = Path("procq.yaml")
CASES = {
    "block-scalar": (b"", b"    workers: 6\n", b"      exec rq worker emails\n"),
    "block-scalar-kept": (b"", b"    workers: 6\n", b"        --burst\n\n\n"),
    "byte-order-mark": (b"    workers: 2\n", b"    workers: 6\n", b""),
    "byte-order-mark-windows": (b"", b"    workers: 6\r\n", b"rq worker emails\r\n"),
    "command-from-defaults": (b"", b"    workers: 6\n", b"    # only a directory\n"),
    "comments": (
        b"    workers:   2     # was 4 until March; see workers: 4\n",
        b"    workers:   6     # was 4 until March; see workers: 4\n",
        b"",
    ),
    "decoys": (b"    workers: 02\n", b"    workers: 6\n", b""),
    "document-marks": (b"    workers: 2   \n", b"    workers: 6   \n", b""),
    "double-quotes": (b'    "workers": "2"\n', b'    "workers": "6"\n', b""),
    "folded": (b"", b"    workers: 6\n", b"      -c 1            # one at a time\n"),
    "four-spaces": (b"        workers: 2\n", b"        workers: 6\n", b""),
    "four-spaces-without-workers": (b"", b"        workers: 6\n", b"        command: rq worker emails\n"),
    "list": (b"", b"    workers: 6\n", b"      - shop\n"),
    "list-not-indented": (b"", b"    workers: 6\n", b"      emails\n      reports\n"),
    "long-quoted": (b"", b"    workers: 6\n", b'      -c 1"\n'),
    "no-final-newline": (b"    workers: 2", b"    workers: 6", b""),
    "no-final-newline-without-workers": (b"", b"    workers: 6\n", b"    directory: mail\n"),
    "one-space": (b"", b"  workers: 6\n", b"  command: rq worker emails\n"),
    "plain": (b"    workers: 2\n", b"    workers: 6\n", b""),
    "single-quotes": (
        b"    'workers': '2'   # text, as all of it\n",
        b"    'workers': '6'   # text, as all of it\n",
        b"",
    ),
    "unicode": (
        "    workers: 2   # zwölf wären zu viele — „12“\n".encode(),
        "    workers: 6   # zwölf wären zu viele — „12“\n".encode(),
        b"",
    ),
    "unicode-quoted-keys": (
        "    'workers':  '2' # 🐇 2\n".encode(),
        "    'workers':  '6' # 🐇 2\n".encode(),
        b"",
    ),
    "windows": (b"    workers: 2\r\n", b"    workers: 6\r\n", b""),
    "windows-without-workers": (b"", b"    workers: 6\r\n", b"    command: rq worker emails\r\n"),
}
"""What each file loses, what it gains, and what stands before it."""


def difference(old: bytes, new: bytes) -> tuple[list[bytes], list[bytes]]:
    before, after = ([line.decode("latin-1") for line in BytesIO(text)] for text in (old, new))
    found = [line.encode("latin-1") for line in difflib.ndiff(before, after) if line[0] in "+-"]
    return [f[2:] for f in found if f[:1] == b"-"], [f[2:] for f in found if f[:1] == b"+"]


def workers(manifest: Manifest) -> dict[str, int]:
    return {name: queue.workers for name, queue in manifest.queues.items()}


@pytest.mark.parametrize("file", sorted(SAVED.iterdir()), ids=lambda file: file.stem)
def test_one_line_of_a_hand_formatted_file_changes(file: Path) -> None:
    old = file.read_bytes()
    lost, gained, after = CASES[file.stem]
    new = set_workers(old, "emails", 6)
    assert difference(old, new) == ([lost] if lost else [], [gained])
    if after:
        assert after + gained in new
    before, now = load_text(old, PATH, {}), load_text(new, PATH, {})
    assert workers(now) == {**workers(before), "emails": 6}


def test_there_are_enough_files() -> None:
    assert {file.stem for file in SAVED.iterdir()} == CASES.keys()
    assert len(CASES) >= 20


@pytest.mark.parametrize("file", sorted(SAVED.iterdir()), ids=lambda file: file.stem)
def test_there_and_back(file: Path) -> None:
    six = set_workers(file.read_bytes(), "emails", 6)
    assert set_workers(six, "emails", 6) == six
    assert set_workers(set_workers(six, "emails", 1234), "emails", 6) == six


@settings(max_examples=60, deadline=None)
@given(MANIFESTS, st.integers(0, 2**32), st.integers(0, 10_000), st.booleans(), st.booleans(), st.data())
def test_nothing_but_the_number_changes(
    parts: tuple[str, dict[str, Queue]], seed: int, number: int, windows: bool, bare: bool, data: st.DataObject
) -> None:
    name, queues = parts
    named = {
        key: Queue(key, shlex.join(q.argv), q.argv, q.workers, q.directory, q.env, q.stop, q.restart, q.logs)
        for key, q in queues.items()
    }
    text = print_manifest(Manifest(name, named, DIRECTORY), random.Random(seed))
    if bare:
        text = "".join(line for line in text.splitlines(keepends=True) if not line.strip().startswith("workers:"))
    old = text.replace("\n", "\r\n").encode() if windows else text.encode()
    queue = data.draw(st.sampled_from(sorted(queues)))
    new = set_workers(old, queue, number)
    before, now = load_text(old, Path(DIRECTORY) / "procq.yaml", {}), load_text(new, Path(DIRECTORY) / "procq.yaml", {})
    assert workers(now) == {**workers(before), queue: number}
    assert set_workers(new, queue, 1) == set_workers(old, queue, 1)
    same = {key: q for key, q in before.queues.items() if key != queue}
    assert {key: q for key, q in now.queues.items() if key != queue} == same
    lost, gained = difference(old, new)
    assert (len(lost), len(gained)) in ([(0, 0)] if new == old else [(1, 1), (0, 1)])


def refusal(text: str, queue: str = "emails", workers: int = 6) -> str:
    with pytest.raises(ProcqError) as caught:
        set_workers(text.encode(), queue, workers)
    assert caught.value.hint or isinstance(caught.value, ManifestError)
    return str(caught.value)


QUEUE = "queues:\n  emails:\n    command: rq\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (QUEUE + "    workers: ${MANY:-2}\n", "is ${MANY:-2}, which stands for what is in the environment"),
        (QUEUE + '    workers: "${MANY}"\n', 'is "${MANY}", which stands for'),
        (QUEUE + "    workers: 1..4\n", "is the range 1..4, and one number would end it"),
        (QUEUE + "    workers: >-\n      2\n", "does not stand in one line as a plain number"),
        (QUEUE + "    workers: |\n      2\n", "does not stand in one line as a plain number"),
        (QUEUE + '    workers: "\\x32"\n', "does not stand in one line as a plain number"),
        (QUEUE + '    workers: "2\\\n      2"\n', "does not stand in one line as a plain number"),
        (QUEUE + "    workers: many\n", "is many, which is not a number"),
        (QUEUE + "    workers:\n", "is empty, which is not a number"),
        (QUEUE + "    stop: *x\n", "aliases (*name) are not used in manifests"),
        (QUEUE + "    workers:\n      - 2\n", "is not a number"),
        ("queues:\n  emails: rq worker\n", "is one line in the manifest and has no place for a number"),
        ("queues:\n  mails: rq worker\n", 'there is no queue "emails" in the manifest: did you mean "mails"?'),
        ("queues: rq\n", "the manifest has no queues"),
        ("emails: rq worker\n", "the manifest has no queues"),
        ("", "this is not a manifest"),
        ("- a\n", "this is not a manifest"),
        (QUEUE + "    stop: @x\n", "YAML gives this text a meaning of its own"),
        (QUEUE + "    command: rq\n", '"command" stands here twice'),
        (QUEUE + "   workers: 2\n", "the indentation of this line fits no line above it"),
        ("queues: {emails: {command: rq}}\n", "is not used in manifests"),
    ],
)
def test_what_cannot_be_edited_says_why(text: str, says: str) -> None:
    assert says in refusal(text)


@pytest.mark.parametrize("number", [-1, 10_001])
def test_a_number_that_cannot_be(number: int) -> None:
    assert f"{number} workers are not possible" in refusal(QUEUE, workers=number)


def test_a_place_that_would_change_more_is_not_used() -> None:
    """The first key stands behind `:` of an explicit one: there is no line of its own below it."""
    text = b"queues:\n  ? emails\n  : command: rq"
    with pytest.raises(ProcqError, match="without changing more than that"):
        set_workers(text, "emails", 2)


def six(text: bytes) -> bytes:
    return set_workers(text, "emails", 6)


def test_a_file_is_replaced_with_mode_and_owner(tmp_path: Path) -> None:
    file = tmp_path / "procq.yaml"
    file.write_text(QUEUE)
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1234, 1235)
    before = file.stat()
    assert save(file, six)
    after = file.stat()
    assert file.read_text() == QUEUE + "    workers: 6\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert not save(file, six)
    assert file.stat().st_ino == after.st_ino
    assert os.listdir(tmp_path) == ["procq.yaml"]


def test_symbolic_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "shop.yaml").write_text(QUEUE)
    (tmp_path / "middle.yaml").symlink_to("real/shop.yaml")
    link = tmp_path / "procq.yaml"
    link.symlink_to(tmp_path / "middle.yaml")
    assert save(link, six)
    assert link.is_symlink() and (tmp_path / "middle.yaml").is_symlink()
    assert "workers: 6" in (tmp_path / "real" / "shop.yaml").read_text()
    assert os.listdir(tmp_path / "real") == ["shop.yaml"]


@pytest.mark.parametrize("how", ["in place", "renamed", "mode", "swapped link", "gone"])
def test_a_file_that_changes_meanwhile_is_left_alone(tmp_path: Path, how: str) -> None:
    target = tmp_path / "shop.yaml"
    target.write_text(QUEUE)
    other = tmp_path / "other.yaml"
    other.write_text(QUEUE)
    file = tmp_path / "procq.yaml"
    file.symlink_to(target)

    def meddle(text: bytes) -> bytes:
        match how:
            case "in place":
                times = target.stat()
                target.write_text(QUEUE.replace("rq", "qr"))
                os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
            case "renamed":
                other.rename(target)
            case "mode":
                target.chmod(0o600 if stat.S_IMODE(target.stat().st_mode) != 0o600 else 0o644)
            case "swapped link":
                file.unlink()
                file.symlink_to(other)
            case "gone":
                target.unlink()
        return six(text)

    kept = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ProcqError, match=r"changed by somebody else|cannot be saved"):
        save(file, meddle)
    assert all("workers" not in path.read_text() for path in (target, other) if path.exists())
    assert {path.name for path in tmp_path.iterdir()} <= kept


def test_nothing_is_left_behind_when_an_edit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "procq.yaml"
    file.write_text("queues:\n  emails: rq\n")
    with pytest.raises(ProcqError, match="is one line in"):
        save(file, lambda text: set_workers(text, "emails", 6, file.name))
    assert os.listdir(tmp_path) == ["procq.yaml"]


def test_files_that_cannot_be_saved(tmp_path: Path) -> None:
    linked = tmp_path / "linked.yaml"
    linked.write_text(QUEUE)
    os.link(linked, tmp_path / "another.yaml")
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "Procfile").write_text("emails: rq\n")
    for name, says in [
        ("linked.yaml", "hard links"),
        ("missing.yaml", r"cannot be saved \(No such file"),
        ("fifo.yaml", "not a regular file"),
        ("Procfile", "has no queues"),
    ]:
        with pytest.raises(ProcqError, match=says) as caught:
            save(tmp_path / name, six)
        assert caught.value.hint
    assert linked.read_text() == QUEUE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    file = tmp_path / "procq.yaml"
    file.write_text(QUEUE)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ProcqError, match=r"cannot be saved \(Permission denied"):
            save(file, six)
    finally:
        tmp_path.chmod(0o700)


def test_find_names_the_file_of_a_queue(tmp_path: Path) -> None:
    file = tmp_path / "procq.yaml"
    file.write_text(QUEUE)
    assert edit.find(file, "emails") == file
    with pytest.raises(ProcqError, match=r'there is no queue "emial" in .*/procq.yaml: did you mean "emails"'):
        edit.find(file, "emial")
    with pytest.raises(ProcqError, match="is a Procfile, which has no numbers of workers"):
        edit.find(tmp_path / "Procfile", "emails")


def test_find_looks_into_included_files(tmp_path: Path) -> None:
    (tmp_path / "procq.yaml").write_text("include:\n  - ${WHERE}/*.yaml\n  - more.yaml\n" + QUEUE)
    (tmp_path / "queues").mkdir()
    (tmp_path / "queues" / "a.yaml").write_text("queues:\n  aa:\n    command: rq\n")
    (tmp_path / "more.yaml").write_text("queues:\n  bb:\n    command: rq\n")
    found = {queue: edit.find(tmp_path / "procq.yaml", queue, {"WHERE": "queues"}) for queue in ("emails", "aa", "bb")}
    assert {queue: str(path.relative_to(tmp_path)) for queue, path in found.items()} == {
        "emails": "procq.yaml",
        "aa": "queues/a.yaml",
        "bb": "more.yaml",
    }
    assert save(found["aa"], lambda text: set_workers(text, "aa", 3))
    assert (tmp_path / "queues" / "a.yaml").read_text() == "queues:\n  aa:\n    command: rq\n    workers: 3\n"
    with pytest.raises(ProcqError, match='did you mean "bb"'):
        edit.find(tmp_path / "procq.yaml", "bbb", {"WHERE": "queues"})
    with pytest.raises(ManifestError, match="cannot be read"):
        edit.find(tmp_path / "procq.yaml", "aa", {})
    (tmp_path / "more.yaml").unlink()
    with pytest.raises(ManifestError, match=r"more.yaml cannot be read: No such file"):
        edit.find(tmp_path / "procq.yaml", "bb", {"WHERE": "queues"})
