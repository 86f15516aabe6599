"""FAULTS 67: the values of variables are for workers; nobody else gets to see them, and no file keeps them."""

from __future__ import annotations

import gzip
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until
from tests.process.test_journal import journal as journal_of
from tests.process.test_metrics import OnSocket, by_port, get
from tests.process.test_otlp import QUICK
from tests.servers.listening import unused
from tests.servers.otlp import Receiver, receiving

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


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


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


PASSWORDS = {
    "SECRET": "canary-environment",
    "FILED": "canary-file",
    "TOKEN": "canary-manifest",
    "source": "canary-source",
    "receiver": "canary-receiver",
    "header": "canary-header",
}


def watched(receiver: Receiver, port: int, spool: Path) -> tuple[str, dict[str, str]]:
    """A manifest and an environment with all of them, of a procq that is watched in every way that there is."""
    user, redis = f"user:{PASSWORDS['receiver']}@", f"user:{PASSWORDS['source']}@127.0.0.1:{unused()}"
    text = (
        "env_file: .env\nqueues:\n  w:\n    command: sleep 1000\n    workers: 1..2\n"
        f"    env:\n      TOKEN: {PASSWORDS['TOKEN']}\n      OTHER: ${{FILED}}\n"
        f"    source: redis-list://{redis}/0?key=jobs\n"
        "    health:\n      command: 'false'\n      every: 1s\n"
        f"  fed:\n    command: sleep 1000\n    workers: 1..3\n    source: file:{spool}?pattern=*.job\n"
        "  broken: no-such-program\n"
    )
    return text, {
        "SECRET": PASSWORDS["SECRET"],
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url.replace("http://", f"http://{user}"),
        "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={PASSWORDS['header']}",
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
        **QUICK,
    }


def test_faults_67_nothing_that_watches_procq_is_shown_a_value(
    procqs: Procqs, receiver: Receiver, tmp_path: Path
) -> None:
    """Spans, records and numbers as they arrive, /metrics, the journal, the flight recorder, the log of --debug."""
    port = unused()
    spool = tmp_path / "spool"
    spool.mkdir()
    text, environment = watched(receiver, port, spool)
    procq = procqs(text)
    procq.environment |= environment
    (procq.folder / ".env").write_text(f"FILED={PASSWORDS['FILED']}\n")
    receiver.answers = 401
    procq.command("up", "-d", "--debug", str(procq.manifest))
    log = Path(procq.project.log_file)
    until(lambda: log.read_text().count("are not delivered") == 3, log.read_text)
    receiver.answers = 200
    until(lambda: log.read_text().count("delivered again") == 3, log.read_text)
    procq.save(text.replace(PASSWORDS["TOKEN"], f"{PASSWORDS['TOKEN']}-2"))
    until(lambda: "procq.reload" in {span.name for span in receiver.spans()}, "the save")
    procq.save(text.replace("TOKEN: ", "- TOKEN: "))
    until(lambda: any(r.event_name == "procq.reload_failed" for r in receiver.records()), "the refusal")
    procq.save(text)
    until(lambda: procq.status().manifest_error is None, "the manifest to be in order")
    until(lambda: procq.queue("w").source_trouble and procq.queue("w").restarts, "faults of the source and of workers")
    for number in range(20):
        (spool / f"{number}.job").touch()
    until(lambda: procq.queue("fed").running == 3, "a decision")
    procq.kill_control_plane()
    until(lambda: "procq.takeover" in {span.name for span in receiver.spans()}, "another control plane")
    sent = len(receiver.metrics)
    until(lambda: len(receiver.metrics) > sent + 1, "numbers")
    for name in ("flight", "flight.gz"):
        procq.command("events", "--dump", name)
    with sqlite3.connect(f"file:{journal_of(procq)}?mode=ro", uri=True) as journal:
        rows = list(journal.iterdump())
    places = {
        "spans": str(receiver.traces),
        "metrics": str(receiver.metrics),
        "records": str(receiver.records()),
        "rows": "\n".join(rows),
        "dump": (procq.folder / "flight").read_text(),
        "packed dump": gzip.decompress((procq.folder / "flight.gz").read_bytes()).decode(),
        "from dump": procq.command("events", "--from", "flight", "--json"),
        "why": procq.command("why", "w"),
        "why from dump": procq.command("why", "--from", "flight", "fed"),
        "events": procq.command("events", "--json"),
        "socket": get(OnSocket(procq.project.api_socket))[2],
        "port": by_port(port)[2],
        "debug": log.read_text(),
        **shown(procq),
    }
    for place in ("spans", "metrics", "records", "rows", "dump", "packed dump", "from dump", "why", "socket", "port"):
        assert "w" in places[place], f"there is nothing in {place}"
    assert "SpawnWorker" in places["debug"], "what is sent to the keeper is told"
    found = {(place, name) for place, text in places.items() for name, word in PASSWORDS.items() if word in text}
    assert found == set()
    assert {headers["api-key"] for headers in receiver.headers} == {PASSWORDS["header"]}, "it was used"
    procq.command("down")
    assert not [name for name, word in PASSWORDS.items() if word in log.read_text()]


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
