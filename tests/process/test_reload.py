"""Live reload: promises 1 and 2, FAULTS 46, 47, 48, 49."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import program
from tests.process.support.processes import Stat
from tests.process.support.project import Procq
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process

SETTLED = 0.4
"""Seconds in which an edit that changes something has long been taken."""


def manifest(workers: int = 3, seconds: int = 1000, extra: str = "") -> str:
    return f"""\
queues:
  emails:
    command: sleep {seconds}
    workers: {workers}
  reports:
    command: sleep 2000
    workers: 2
{extra}"""


@pytest.fixture
def procq(procqs: Procqs) -> Procq:
    made = procqs(manifest())
    made.start(5)
    return made


def stays(before: dict[str, Stat], after: dict[str, Stat]) -> bool:
    """Whether everybody who is in both is the same process, pid and start time."""
    return all(
        after[worker].started == stat.started and after[worker].pid == stat.pid
        for worker, stat in before.items()
        if worker in after
    )


@pytest.mark.parametrize("save", [Procq.save, Procq.replace], ids=["in place", "renamed"])
def test_a_change_of_a_count_touches_nobody_who_stays(procq: Procq, save: Callable[[Procq, str], None]) -> None:
    before = procq.workers()
    for workers in (5, 2, 4, 1, 3):
        save(procq, manifest(workers))
        after = procq.wait_running(workers + 2)
        assert stays(before, after)
        assert set(after) == {*(f"emails.{n}" for n in range(1, workers + 1)), "reports.1", "reports.2"}
        before = after


def test_one_to_twenty_to_one_keeps_the_first_worker(procqs: Procqs) -> None:
    procq = procqs(manifest(1)).start(3)
    first = procq.workers()["emails.1"]
    for workers in (20, 1):
        procq.save(manifest(workers))
        assert procq.wait_running(workers, "emails")["emails.1"] == first


SAME = {
    "comment": lambda text: "# a new comment\n" + text,
    "trailing comment": lambda text: text.replace("workers: 3", "workers: 3   # three"),
    "order": lambda text: text.replace(
        "    command: sleep 1000\n    workers: 3\n", "    workers: 3\n    command: sleep 1000\n"
    ),
    "quoting": lambda text: text.replace("sleep 1000", '"sleep 1000"'),
    "list": lambda text: text.replace("command: sleep 1000", "command:\n      - sleep\n      - 1000"),
    "blank lines": lambda text: text.replace("  reports", "\n\n  reports"),
}


@pytest.mark.parametrize("edit", SAME)
def test_an_edit_that_means_the_same_does_nothing(procq: Procq, edit: str) -> None:
    before, said = procq.workers(), procq.said()
    edited = SAME[edit](manifest())
    assert edited != manifest()
    procq.save(edited)
    # The same text with one more worker is the sign that both have been read.
    procq.save(edited.replace("workers: 2", "workers: 3"))
    after = procq.wait_running(6)
    assert stays(before, after)
    assert "emails" not in procq.said()[len(said) :]


def test_another_command_replaces_the_workers_of_that_queue_only(procq: Procq) -> None:
    before = procq.workers()
    procq.save(manifest(seconds=1001))

    def replaced() -> bool:
        now = procq.workers()
        return len(now) == 5 and all(now[w] != before[w] for w in now if w.startswith("emails"))

    until(replaced, "the emails to be replaced")
    assert stays({w: s for w, s in before.items() if w.startswith("reports")}, procq.workers())


def test_a_queue_comes_and_goes(procq: Procq) -> None:
    before = procq.workers()
    procq.save(manifest(extra="  more: sleep 3000\n"))
    assert stays(before, procq.wait_running(6))
    procq.save(manifest())
    assert procq.wait_running(5) == before


BROKEN = {
    "syntax": "queues:\n  emails: [\n",
    "unknown key": manifest().replace("workers: 3", "wrokers: 3"),
    "not a number": manifest().replace("workers: 3", "workers: many"),
    "empty": "",
    "binary": "\0\1\2",
    "no queues": "version: 1\n",
}


def test_a_manifest_that_is_gone_changes_nothing_and_is_told(procq: Procq) -> None:
    before = procq.workers()
    text = procq.manifest.read_text()
    procq.manifest.unlink()
    until(lambda: "the file is not there" in procq.command("status"), "it to be told")
    os.mkfifo(procq.manifest)
    assert "the file is not there" in procq.command("status")
    assert procq.workers() == before
    procq.manifest.unlink()
    procq.save(text)
    until(lambda: procq.status().manifest_error is None, "the end of it")


@pytest.mark.parametrize("kind", BROKEN)
def test_faults_48_a_broken_manifest_changes_nothing_and_is_shown(procq: Procq, kind: str) -> None:
    before = procq.workers()
    procq.save(BROKEN[kind])
    until(lambda: procq.status().manifest_error, "the error to be shown")
    assert procq.workers() == before
    until(lambda: "the running configuration stays in force" in procq.said(), "the terminal to say so")
    assert "emails" in procq.command("status")
    procq.kill_control_plane()
    assert procq.workers() == before, "a new control plane keeps the last good one too"
    procq.save(manifest(4))
    assert stays(before, procq.wait_running(6))
    assert procq.status().manifest_error is None


def test_faults_49_a_file_that_is_half_written_is_not_taken(procq: Procq) -> None:
    """Each prefix is on the disk for a moment; a worker less, or a queue less, would be valid."""
    before, text = procq.workers(), manifest(30)
    with open(procq.manifest, "w") as file:
        for line in text.splitlines(keepends=True):
            file.write(line)
            file.flush()
    assert stays(before, procq.wait_running(32))
    procq.manifest.write_text("")
    procq.manifest.write_text(manifest(3))
    assert stays(before, procq.wait_running(5))


def test_faults_49_deleted_and_written_again(procq: Procq) -> None:
    before = procq.workers()
    procq.manifest.unlink()
    throughout(SETTLED, lambda: procq.workers() == before, "the life of the workers without a manifest")
    procq.save(manifest(4))
    assert stays(before, procq.wait_running(6))


def test_faults_49_a_moved_away_file_replaced_by_a_copy(procq: Procq) -> None:
    """As vim saves with a backup: rename away, write anew."""
    before = procq.workers()
    for workers in (4, 5, 6):
        procq.manifest.rename(procq.manifest.with_name("procq.yaml~"))
        procq.save(manifest(workers))
        assert stays(before, procq.wait_running(workers + 2))


def test_faults_49_a_symlink_swap_as_of_a_config_map(procqs: Procqs) -> None:
    """procq.yaml → ..data/procq.yaml, ..data → a folder that is exchanged by a rename."""
    procq = procqs(manifest())

    def publish(version: str, text: str) -> None:
        folder = procq.folder / version
        folder.mkdir()
        (folder / "procq.yaml").write_text(text)
        link = procq.folder / "..data_tmp"
        link.symlink_to(version)
        link.rename(procq.folder / "..data")

    publish("..1", manifest(3))
    procq.manifest.unlink()
    procq.manifest.symlink_to("..data/procq.yaml")
    before = procq.start(5).workers()
    for version, workers in (("..2", 5), ("..3", 4)):
        publish(version, manifest(workers))
        assert stays(before, procq.wait_running(workers + 2))
    shutil.rmtree(procq.folder / "..1")
    publish("..4", "queues: [")
    until(lambda: procq.status().manifest_error, "the error")
    assert stays(before, procq.wait_running(6))


def test_faults_46_a_hundred_saves_in_a_row_end_at_the_last(procq: Procq) -> None:
    before = procq.workers()
    for n in range(100):
        procq.replace(manifest(1 + n % 9))
    procq.replace(manifest(7))
    assert stays(before, procq.wait_running(9))
    throughout(SETTLED, lambda: len(procq.workers()) == 9, "the last manifest")


def test_faults_47_a_save_while_workers_start(procqs: Procqs) -> None:
    procq = procqs(manifest(1)).start(3)
    before = procq.workers()
    for workers, seconds in ((40, 1000), (2, 1000), (40, 1000), (3, 1000)):
        procq.save(manifest(workers, seconds))
        until(lambda w=workers: procq.queue("emails").desired == w, "it to be taken")  # type: ignore[misc]
    assert stays(before, procq.wait_running(5))


def test_faults_44_a_stop_that_was_asked_for_is_no_crash(procq: Procq) -> None:
    procq.save(manifest(1))
    procq.wait_running(3)
    assert {queue.restarts for queue in procq.status().queues} == {0}
    assert "✗" not in procq.said()


def test_a_log_file_can_be_changed_without_a_restart(procqs: Procqs) -> None:
    lines = " ".join(program("lines.py", "w"))
    text = f"queues:\n  w:\n    command: {lines}\n"
    procq = procqs(text).start(1)
    before = procq.workers()
    for file in ("one.log", "two.log"):
        procq.save(f"{text}    logs:\n      file: {file}\n")
        until(lambda file=file: (procq.folder / file).exists(), "lines in the new file")  # type: ignore[misc]
    assert procq.workers() == before


def test_hangup_looks_at_the_manifest_again(procq: Procq) -> None:
    before = procq.workers()
    procq.save(manifest(4))
    procq.signal(1)
    assert stays(before, procq.wait_running(6))


def test_the_manifest_may_be_far_from_here(procqs: Procqs, tmp_path: Path) -> None:
    """A link to a file elsewhere: saved there, followed here."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    real = elsewhere / "real.yaml"
    real.write_text(manifest())
    procq = procqs(manifest())
    procq.manifest.unlink()
    procq.manifest.symlink_to(real)
    before = procq.start(5).workers()
    real.write_text(manifest(4))
    assert stays(before, procq.wait_running(6))
    os.replace(_written(elsewhere / "draft", manifest(5)), real)
    assert stays(before, procq.wait_running(7))
    assert processes.exists(before["emails.1"].pid)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_workers_are_told_the_name_of_the_manifest(procqs: Procqs) -> None:
    procq = procqs(
        "name: bakery\nqueues:\n  a:\n    shell: yes\n    command: echo in $PROCQ_PROJECT; exec sleep 1000\n"
    )
    procq.start(1)
    until(lambda: "in bakery" in procq.said(), "the name")
    procq.save(procq.manifest.read_text().replace("bakery", "brewery"))
    until(lambda: "brewery" in procq.command("status"), "the new name")
    procq.command("restart", "a")
    until(lambda: "in brewery" in procq.said(), "the new name in a new worker")
