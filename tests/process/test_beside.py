"""Live reload of included files and files of variables, and a stream of faulty saves (FAULTS 48, 49)."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.processes import Stat
from tests.process.support.project import Procq
from tests.process.support.waiting import throughout, until
from tests.unit.manifest.mutations import mutated

pytestmark = pytest.mark.process

SETTLED = 0.4
"""Seconds in which an edit that changes something has long been taken."""
STREAM = 6.0
"""Seconds of faulty saves."""
MAIN = """\
include: queues/*.yaml
env_file: .env
queues:
  emails:
    command: sleep 1000
    workers: ${EMAILS}
"""


def queue(name: str, workers: int = 2, command: str = "sleep 2000") -> str:
    return f"queues:\n  {name}:\n    command: {command}\n    workers: {workers}\n"


@pytest.fixture
def procq(procqs: Procqs) -> Procq:
    made = procqs(MAIN)
    (made.folder / "queues").mkdir()
    (made.folder / "queues" / "reports.yaml").write_text(queue("reports"))
    (made.folder / ".env").write_text("EMAILS=3\nSECRET=one\n")
    made.start(5)
    return made


def save(path: Path, text: str) -> None:
    """As editors do: beside it, and renamed over it."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    draft.rename(path)


def stay(before: dict[str, Stat], after: dict[str, Stat]) -> bool:
    return all(after[worker] == stat for worker, stat in before.items() if worker in after)


def test_an_included_file_is_followed_like_the_manifest(procq: Procq) -> None:
    before, reports = procq.workers(), procq.folder / "queues" / "reports.yaml"
    reports.write_text(queue("reports", 4))
    assert stay(before, procq.wait_running(7))
    until(lambda: "queues/reports.yaml" in procq.said(), "the terminal to name the file")
    save(reports, queue("reports", 1))
    assert stay(before, procq.wait_running(4))


def test_files_that_a_pattern_matches_come_and_go(procq: Procq) -> None:
    before = procq.workers()
    for path, name in (("queues/a.yaml", "a"), ("queues/b.yaml", "b")):
        (procq.folder / path).write_text(queue(name, 1))
    assert stay(before, procq.wait_running(7))
    (procq.folder / "queues" / "a.yaml").unlink()
    after = procq.wait_running(6)
    assert stay(before, after)
    assert "a.1" not in after


def test_a_file_of_variables_is_followed(procq: Procq) -> None:
    before, env = procq.workers(), procq.folder / ".env"
    env.write_text("EMAILS=4\nSECRET=two\n")

    def replaced() -> bool:
        now = procq.workers()
        return len(now) == 6 and not any(now[worker] == stat for worker, stat in before.items())

    until(replaced, "every worker to see the new value, and one more")
    assert b"SECRET=two" in Path(f"/proc/{procq.workers()['reports.1'].pid}/environ").read_bytes()
    assert "SECRET" in procq.said()
    assert "two" not in procq.said()


def test_faults_48_a_broken_file_changes_nothing_and_is_named(procq: Procq) -> None:
    before, said = procq.workers(), len(procq.said())
    (procq.folder / "queues" / "bad.yaml").write_text(queue("bad").replace("workers", "wrokers"))
    until(lambda: "queues/bad.yaml" in procq.said()[said:], "the file to be named in the terminal")
    assert "queues/bad.yaml:4:5" in str(procq.status().manifest_error)
    assert procq.workers() == before
    assert "queues/bad.yaml:4:5" in procq.command("check", code=4)
    # It is mended where it was broken, and everything else is taken then.
    procq.save(MAIN + "  more: sleep 3000\n")
    throughout(SETTLED, lambda: procq.workers() == before, "the life of the workers")
    save(procq.folder / "queues" / "bad.yaml", queue("bad", 1))
    assert stay(before, procq.wait_running(7))
    assert len(procq.workers("more")) == 1
    assert procq.status().manifest_error is None


def test_a_missing_file_is_waited_for(procq: Procq) -> None:
    before = procq.workers()
    procq.save(MAIN.replace("env_file: .env", "env_file:\n  - .env\n  - more.env"))
    until(lambda: "more.env" in str(procq.status().manifest_error), "the error to be shown")
    assert procq.workers() == before
    assert stay(before, procq.workers())
    save(procq.folder / "more.env", "EMAILS=4\n")
    procq.wait_running(6)
    assert procq.status().manifest_error is None


def test_faults_49_a_half_written_file_holds_the_whole_set_back(procq: Procq) -> None:
    before, reports = procq.workers(), procq.folder / "queues" / "reports.yaml"
    with open(reports, "w") as file:
        file.write(queue("reports", 1))
        file.flush()
        procq.save(MAIN + "  more: sleep 3000\n")
        throughout(SETTLED, lambda: procq.workers() == before, "the life of the workers")
        file.write("  late: sleep 3000\n")
    after = procq.wait_running(6)
    assert stay(before, after)
    assert {"reports.1", "more.1", "late.1"} <= after.keys()
    assert "removed" not in procq.said()


def test_a_half_written_file_that_is_named_for_the_first_time_is_waited_for(procq: Procq) -> None:
    before, late = procq.workers(), procq.folder / "late.yaml"
    with open(late, "w") as file:
        file.write(queue("late", 1))
        file.flush()
        procq.save(MAIN.replace("include: queues/*.yaml", "include:\n  - queues/*.yaml\n  - late.yaml"))
        throughout(SETTLED, lambda: procq.workers() == before, "the life of the workers")
        file.write("  later: sleep 3000\n")
    after = procq.wait_running(7)
    assert stay(before, after)
    assert procq.said().count("+ late ") == 1


def test_a_file_that_is_no_longer_named_is_no_longer_followed(procq: Procq) -> None:
    before = procq.workers()
    procq.save(MAIN.replace("include: queues/*.yaml\n", ""))
    assert stay(before, procq.wait_running(3))
    (procq.folder / "queues" / "reports.yaml").write_text("nonsense")
    procq.save(MAIN.replace("include: queues/*.yaml\n", "") + "  more: sleep 3000\n")
    assert stay(before, procq.wait_running(4))
    assert procq.status().manifest_error is None


def test_the_same_files_are_followed_after_a_control_plane_ended(procq: Procq) -> None:
    before = procq.workers()
    procq.kill_control_plane()
    save(procq.folder / "queues" / "reports.yaml", queue("reports", 3))
    assert stay(before, procq.wait_running(6))
    # Also where the manifest itself cannot say which they are.
    procq.save("queues: [")
    until(lambda: procq.status().manifest_error, "the error")
    procq.kill_control_plane()
    save(procq.folder / "queues" / "reports.yaml", queue("reports", 4))
    procq.save(MAIN)
    assert stay(before, procq.wait_running(7))


def test_plan_and_check_read_what_is_beside_the_file_they_are_given(procq: Procq) -> None:
    assert procq.command("plan") == procq.command("plan", str(procq.manifest))
    draft = procq.folder / "draft"
    (draft / "queues").mkdir(parents=True)
    (draft / "procq.yaml").write_text(MAIN)
    (draft / ".env").write_text("EMAILS=3\nSECRET=one\n")
    (draft / "queues" / "reports.yaml").write_text(queue("reports", 6))
    assert "9 workers" in procq.command("check", str(draft / "procq.yaml"))
    planned = procq.command("plan", str(draft / "procq.yaml"), code=2)
    assert "reports" in planned
    assert "emails" not in planned
    (draft / "queues" / "reports.yaml").write_text("queues:\n  reports:\n    wokers: 1\n")
    assert "queues/reports.yaml:3:5" in procq.command("plan", str(draft / "procq.yaml"), code=4)


def test_a_stream_of_faulty_saves_disturbs_no_worker(procq: Procq, request: pytest.FixtureRequest) -> None:
    """Manifest, included file and file of variables, mutated so that they do not load; then a good save works."""
    before, seed = procq.workers(), random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    good = {
        procq.manifest: MAIN,
        procq.folder / "queues" / "reports.yaml": queue("reports"),
        procq.folder / ".env": "EMAILS=3\nSECRET=one\n",
    }
    # Whatever the mutation makes of it: this line alone keeps the manifest from loading.
    broken = "\nno_such_key: 1\n"
    procq.save(MAIN + broken)
    until(lambda: procq.status().manifest_error, "the first error")
    saves, end = 0, time.monotonic() + STREAM
    while time.monotonic() < end:
        path = chance.choice(list(good))
        text = mutated(good[path], chance) + (broken if path == procq.manifest else "")
        if path == procq.manifest and b"no_such_key" not in text.encode("utf-8", "surrogateescape"):
            continue
        data = text.encode("utf-8", "surrogateescape")
        if chance.random() < 0.5:
            path.write_bytes(data)
        else:
            draft = path.with_name(".draft")
            draft.write_bytes(data)
            draft.rename(path)
        saves += 1
        if saves % 20 == 0:
            assert procq.workers() == before
    assert saves > 50
    assert procq.workers() == before
    for path in reversed(good):
        save(path, good[path])
    save(procq.folder / "queues" / "reports.yaml", queue("reports", 3))
    assert stay(before, procq.wait_running(6))
    assert procq.status().manifest_error is None
    assert procq.info().starts == 1, "the control plane did not end"
