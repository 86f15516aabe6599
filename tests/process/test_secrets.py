"""FAULTS 67: the values of variables are for workers; nobody else gets to see them, and no file keeps them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

FORMER, SECRET, FROM_FILE = "hunter2-former", "hunter2-present", "hunter2-of-a-file"
COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("events",),
    ("plan",),
    ("logs", "w"),
    ("check",),
    ("doctor",),
)


def manifest(secret: str) -> str:
    return (
        "env_file: .env\nqueues:\n  w:\n    command: sleep 1000\n"
        f"    env:\n      TOKEN: {secret}\n      OTHER: ${{FILED}}\n"
    )


def shown(procq: Procq) -> dict[str, str]:
    """Everything that procq says or keeps, by where: what commands print, what it said itself, its files."""
    said = {" ".join(words): procq.command(*words) for words in COMMANDS}
    said["terminal"] = procq.said()
    said["api"] = str(procq.status()) + str(list(procq.client.events(follow=False))) + str(procq.client.plan())
    return said | {str(path): path.read_text(errors="replace") for path in kept(procq)}


def kept(procq: Procq) -> list[Path]:
    """Files that procq has made."""
    roots = [Path(procq.project.run_dir), procq.folder / "state", Path(os.environ["XDG_CACHE_HOME"])]
    return [path for root in roots for path in root.rglob("*") if path.is_file()]


def test_faults_67_values_of_variables_are_told_to_workers_only(procqs: Procqs) -> None:
    procq = procqs(manifest(FORMER))
    (procq.folder / ".env").write_text(f"FILED={FROM_FILE}\n")
    before = procq.start(1).workers()
    procq.save(manifest(SECRET))
    after = until(lambda: now if (now := procq.workers()) and now != before else None, "another worker")
    assert after is not None
    environment = Path(f"/proc/{after['w.1'].pid}/environ").read_text()
    assert SECRET in environment
    assert FROM_FILE in environment
    procq.kill_control_plane()
    for place, text in shown(procq).items():
        assert not [value for value in (FORMER, SECRET, FROM_FILE) if value in text], place
    assert "TOKEN" in procq.said(), "which variable has changed is told"


def test_faults_67_the_log_of_a_detached_procq_is_for_its_owner(procqs: Procqs) -> None:
    procq = procqs("queues:\n  w: sleep 1000\n")
    former = os.umask(0)
    try:
        procq.command("up", "-d", str(procq.manifest))
    finally:
        os.umask(former)
    procq.began(1)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept(procq)} == {0o600}
    procq.command("down")
    until(lambda: procq.oracle.alive() == [], "the end of everything")
