"""`logs: otlp: yes` of a real procq and a real receiver: each line once, whatever becomes of who sends it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.versions import Version
from tests.process.support.waiting import throughout, until
from tests.servers.otlp import Receiver, attributes, receiving
from tests.servers.otlp_grpc import receiving_by_grpc

pytestmark = pytest.mark.process

WORKERS = Path(__file__).parent / "workers"
QUICK = {
    "OTEL_BSP_SCHEDULE_DELAY": "50",
    "OTEL_BLRP_SCHEDULE_DELAY": "50",
    "OTEL_METRIC_EXPORT_INTERVAL": "200",
}
NUMBERED = """\
defaults:
  command: {python} {numbered} 2000
queues:
  a:
    workers: 2
    logs:
      otlp: yes
  b:
    logs:
      otlp: yes
      file: b.log
  quiet:
    workers: 1
"""
ONGOING = """\
queues:
  a:
    command: {python} -u {lines} line 0 {pause}
    logs:
      otlp: {otlp}
  other:
    command: sleep 1000
    logs:
      otlp: {other}
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def sending(procqs: Procqs, manifest: str, receiver: Receiver, **variables: str) -> Procq:
    procq = procqs(manifest)
    procq.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, **QUICK, **variables}
    return procq


def started(procq: Procq, workers: int) -> Procq:
    procq.start(workers)
    assert procq.baseline is not None
    # A connection for each signal and for output stays open, and one to the keeper with what the reader listens to.
    keeper = procq.baseline.keeper + Counter({"socket": 1})
    procq.baseline = replace(procq.baseline, keeper=keeper, control_plane=procq.baseline.control_plane + 8)
    return procq


def lines(receiver: Receiver) -> list[Any]:
    """What workers wrote, in the order in which it arrived."""
    return [record for record in receiver.records() if any(each.key == "log.iostream" for each in record.attributes)]


def ongoing(otlp: str = "yes", other: str = "no", pause: float = 0.002) -> str:
    return ONGOING.format(python=sys.executable, lines=WORKERS / "lines.py", otlp=otlp, other=other, pause=pause)


def numbers(receiver: Receiver) -> list[int]:
    """Those of `line N`."""
    return [int(record.body.string_value.split()[1]) for record in lines(receiver)]


def lost(receiver: Receiver) -> int:
    points = [p for p in receiver.newest("procq.telemetry.lost") if attributes(p)["signal"] == "output"]
    return sum(point.as_int for point in points)


def test_each_line_of_the_queues_that_ask_arrives_once_and_in_order(procqs: Procqs, receiver: Receiver) -> None:
    manifest = NUMBERED.format(python=sys.executable, numbered=WORKERS / "numbered.py")
    began = time.time_ns()
    procq = started(sending(procqs, manifest, receiver), 4)
    until(lambda: len(lines(receiver)) >= 3 * 2 * 2000, lambda: f"the lines: {len(lines(receiver))}")
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    generations: defaultdict[str, set[int]] = defaultdict(set)
    for record in lines(receiver):
        known = attributes(record)
        found[known["procq.worker"], known["log.iostream"]].append(record.body.string_value)
        generations[known["procq.worker"]].add(known["procq.generation"])
        assert known["procq.queue"] == known["procq.worker"].split(".")[0]
        assert (record.severity_number, record.severity_text, record.event_name) == (0, "", "")
        assert began < record.time_unix_nano <= record.observed_time_unix_nano < time.time_ns()
    expected = [(worker, stream) for worker in ("a.1", "a.2", "b.1") for stream in ("stdout", "stderr")]
    assert found == {(worker, of): [f"{worker} {of} {n}" for n in range(2000)] for worker, of in expected}
    seen = {worker.id: {worker.generation} for worker in procq.status().workers if worker.queue != "quiet"}
    assert generations == seen
    until(lambda: receiver.newest("procq.telemetry.lost"), "the count of what was lost")
    assert lost(receiver) == 0


def test_a_save_switches_it_on_and_off_and_touches_no_worker(procqs: Procqs, receiver: Receiver) -> None:
    procq = started(sending(procqs, ongoing("no"), receiver), 2)
    before = procq.workers()
    until(receiver.records, "telemetry to be on")
    assert lines(receiver) == []
    procq.save(ongoing("yes"))
    until(lambda: len(lines(receiver)) > 50, "lines")
    assert numbers(receiver)[0] > 0, "from now on"
    # Another one joins: what is read already goes on.
    procq.save(ongoing("yes", other="yes"))
    seen = len(lines(receiver))
    until(lambda: len(lines(receiver)) > seen + 100, "more lines")
    first = numbers(receiver)
    assert first == list(range(first[0], first[0] + len(first))), "none is missing, none is doubled"
    procq.save(ongoing("no", other="yes"))
    until(silence(receiver), "silence")
    last = numbers(receiver)
    assert last == list(range(last[0], last[0] + len(last)))
    procq.save(ongoing("yes", other="no"))
    until(lambda: len(lines(receiver)) > len(last) + 50, "lines again")
    again = numbers(receiver)[len(last) :]
    assert again == list(range(again[0], again[0] + len(again)))
    assert again[0] > last[-1] + 10, "what was written in between is nobody's"
    assert procq.workers() == before


def silence(receiver: Receiver) -> Callable[[], bool]:
    """Whether nothing has come for a while, in which hundreds of lines are written."""
    seen, since = -1, 0.0

    def lasts() -> bool:
        nonlocal seen, since
        if len(lines(receiver)) != seen:
            seen, since = len(lines(receiver)), time.monotonic()
        return time.monotonic() - since > 0.5

    return lasts


def test_long_lines_leave_by_grpc_in_messages_that_its_receivers_take(procqs: Procqs) -> None:
    """By default these take 4 MiB. A line that is longer than the keeper's bound comes in parts of it."""
    numbered = "[print(f'{n} ' + 'x' * 60_000, flush=not time.sleep(0.01)) for n in range(200)]"
    script = f"import signal, time; {numbered}; print('y' * 150_000, flush=True); signal.pause()"
    manifest = (
        f'queues:\n  a:\n    command: {sys.executable} -c "{script}"\n    workers: 0\n    logs:\n      otlp: yes\n'
    )
    with receiving_by_grpc() as receiver:
        procq = sending(procqs, manifest, receiver, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
        procq.start(0)
        until(lambda: receiver.metrics, "telemetry to be on")
        procq.save(manifest.replace("workers: 0", "workers: 1"))
        until(lambda: len(lines(receiver)) == 203, lambda: f"{len(lines(receiver))} lines; {procq.said()[-500:]}")
        bodies = [record.body.string_value for record in lines(receiver)]
        assert [int(body.split()[0]) for body in bodies[:200]] == list(range(200))
        assert [len(body) for body in bodies[200:]] == [65_536, 65_536, 150_000 - 2 * 65_536]
        procq.command("down")


TORRENT = 200_000


def test_a_torrent_that_nobody_takes_is_counted_and_slows_no_worker(
    procqs: Procqs, receiver: Receiver, tmp_path: Path
) -> None:
    manifest = (
        f"queues:\n  a:\n    command: {sys.executable} {WORKERS / 'torrent.py'} {TORRENT} {tmp_path / 'done'}\n"
        "    workers: {n}\n    logs:\n      otlp: yes\n"
    )
    procq = sending(procqs, manifest.format(n=0), receiver, OTEL_EXPORTER_OTLP_TIMEOUT="2")
    started(procq, 0)
    until(lambda: receiver.metrics, "telemetry to be on")
    memory = psutil.Process(procq.control_plane()).memory_info().rss
    receiver.forgetful = True
    receiver.open.clear()
    procq.save(manifest.format(n=1))
    # It would never come to its end if somebody had to take what it writes.
    until((tmp_path / "done").exists, "the worker to have written everything")
    until(lambda: "output of workers is not delivered" in procq.said(), procq.said)
    grown = psutil.Process(procq.control_plane()).memory_info().rss - memory
    assert grown < 32 << 20, f"{grown >> 20} MiB"
    procq.save(manifest.format(n=2).replace("workers: 2", "workers: 1") + "  b: sleep 1000\n")
    procq.wait_running(2)
    assert lines(receiver) == []
    receiver.open.set()
    until(
        lambda: len(lines(receiver)) + lost(receiver) == TORRENT, lambda: f"{len(lines(receiver))} + {lost(receiver)}"
    )
    arrived = [record.body.string_value for record in lines(receiver)]
    assert 1_000 < len(arrived) < TORRENT / 2
    assert len(set(arrived)) == len(arrived), "none is doubled"
    assert sorted(arrived, key=lambda line: int(line.split()[1])) == arrived, "in order"
    assert "output of workers is delivered again" in procq.said()
    written = sum(len(f"torrent {n} {'x' * 80}\n") for n in range(TORRENT))

    def counted(name: str, **labels: str) -> int:
        wanted = {"queue": "a", **labels}
        return sum(p.as_int for p in receiver.newest(f"procq.queue.output.{name}") if attributes(p) == wanted)

    assert (counted("bytes"), counted("lines")) == (written, TORRENT)
    assert counted("dropped", sink="reader") > written / 2
    assert counted("dropped", sink="file") == 0


def test_after_the_death_of_a_control_plane_it_goes_on(procqs: Procqs, receiver: Receiver) -> None:
    procq = started(sending(procqs, ongoing(), receiver), 2)
    until(lambda: len(lines(receiver)) > 100, "lines")
    killed = time.time_ns()
    procq.kill_control_plane()
    until(lambda: any(record.time_unix_nano > killed + 10**9 for record in lines(receiver)), "lines of later")
    found = numbers(receiver)
    assert len(set(found)) == len(found) and found == sorted(found), "none is doubled"
    assert found[0] == 0, "from the beginning"
    missing = sorted(set(range(found[-1])) - set(found))
    times = {int(r.body.string_value.split()[1]): r.time_unix_nano for r in lines(receiver)}
    # What it had read and not sent: of the moment before its end, and nothing of what came before the next one read.
    if missing:
        assert missing == list(range(missing[0], missing[-1] + 1))
        assert times[missing[-1] + 1] < killed + 2e8, f"{(times[missing[-1] + 1] - killed) / 1e9:.3f} s"


def test_over_an_upgrade_no_line_is_lost_or_doubled(procqs: Procqs, receiver: Receiver, tmp_path: Path) -> None:
    version = Version(tmp_path, "7.0.0")
    # Some are on their way whenever the one control plane leaves.
    procq = started(sending(procqs, ongoing(pause=0.0001), receiver), 2)
    until(lambda: len(lines(receiver)) > 100, "lines")
    version.take_over(procq)
    taken_over = time.time_ns()
    until(lambda: any(record.time_unix_nano > taken_over + 10**9 for record in lines(receiver)), "lines of later")
    found = numbers(receiver)
    assert found == list(range(len(found)))
    resources = [attributes(each.resource) for message in receiver.logs for each in message.resource_logs]
    assert {resource["service.version"] for resource in resources} >= {"7.0.0"}


@pytest.mark.parametrize("end", ["everything", "the queue"])
def test_the_last_words_arrive(procqs: Procqs, receiver: Receiver, end: str) -> None:
    command = """sh -c 'trap "echo last words; exit" TERM; echo first words; while :; do sleep 0.01; done'"""
    manifest = f"queues:\n  a:\n    command: {command}\n    logs:\n      otlp: yes\n"
    procq = started(sending(procqs, manifest, receiver), 1)
    until(lambda: lines(receiver), "the first ones")
    if end == "everything":
        procq.command("down")
    else:
        procq.save("queues:\n  b: sleep 1000\n")
        until(lambda: len(lines(receiver)) > 1, "the last ones")
    assert [record.body.string_value for record in lines(receiver)] == ["first words", "last words"]


CANARY = "hunter2-environment"


def test_secrets_of_a_worker_are_in_no_record_but_where_it_writes_them(procqs: Procqs, receiver: Receiver) -> None:
    manifest = "queues:\n" + "".join(
        f"  {name}:\n    command: sh -c '{script}; exec sleep 1000'\n"
        f"    env:\n      TOKEN: {CANARY}-{name}\n    logs:\n      otlp: yes\n"
        for name, script in (("discreet", "echo ready"), ("loud", 'echo "$TOKEN"'))
    )
    started(sending(procqs, manifest, receiver, OTEL_EXPORTER_OTLP_HEADERS="api-key=in-the-header"), 2)
    until(lambda: len(lines(receiver)) == 2, "the lines")
    assert {record.body.string_value for record in lines(receiver)} == {"ready", f"{CANARY}-loud"}
    sent = str([receiver.traces, receiver.metrics, receiver.logs])
    assert (sent.count(CANARY), sent.count("in-the-header")) == (1, 0)


def test_a_worker_s_lines_belong_to_the_span_of_its_life(procqs: Procqs, receiver: Receiver) -> None:
    manifest = "queues:\n  a:\n    command: sh -c 'echo hello; exec sleep 1000'\n    logs:\n      otlp: yes\n"
    procq = started(sending(procqs, manifest, receiver), 1)
    until(lambda: lines(receiver), "the line")
    (worker,) = procq.workers().values()
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: any(span.name == "procq.worker" for span in receiver.spans()), "the life to be told")
    (life,) = [span for span in receiver.spans() if span.name == "procq.worker"]
    first = lines(receiver)[0]
    assert (first.trace_id, first.span_id) == (life.trace_id, life.span_id)
    until(lambda: len(lines(receiver)) == 2, "the next one's line")
    assert lines(receiver)[1].span_id != life.span_id


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("variables", "advice"),
    [
        ({}, "set OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "set OTEL_EXPORTER_OTLP_ENDPOINT"),
        (ENDPOINT | {"OTEL_LOGS_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, "take OTEL_LOGS_EXPORTER out"),
        (ENDPOINT | {"OTEL_CONFIG_FILE": "otel.yaml"}, "add a `logger_provider` to otel.yaml (OTEL_CONFIG_FILE)"),
    ],
    ids=["nothing", "traces alone", "no log", "no log by file"],
)
def test_where_nobody_receives_it_that_is_said_once(procqs: Procqs, variables: dict[str, str], advice: str) -> None:
    procq = procqs(ongoing("no"))
    procq.environment |= variables
    (procq.folder / "otel.yaml").write_text('file_format: "1.0"\n')
    procq.start(2)
    before = len(psutil.Process(procq.control_plane()).net_connections("unix"))
    procq.save(ongoing("yes"))
    told = f"logs.otlp is yes for a, and nothing receives it: {advice}"
    until(lambda: told in procq.said(), procq.said)
    procq.save(ongoing("yes", other="yes"))
    throughout(0.3, lambda: procq.said().count("nothing receives it") == 1, "silence")
    assert len(psutil.Process(procq.control_plane()).net_connections("unix")) <= before, "nobody reads for nothing"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"PYTHONPATH": "{path}"}, "pip install 'procq[otlp]'"),
        ({"OTEL_CONFIG_FILE": "none.yaml"}, "telemetry is off: none.yaml (OTEL_CONFIG_FILE), cannot be read"),
    ],
    ids=["no package", "no file"],
)
def test_what_keeps_it_from_being_sent_is_said_once(
    procqs: Procqs, receiver: Receiver, tmp_path: Path, more: dict[str, str], why: str
) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('No module', name='opentelemetry')\n")
    procq = sending(procqs, ongoing(), receiver, **{name: value.format(path=tmp_path) for name, value in more.items()})
    procq.start(2)
    until(lambda: why in procq.said(), procq.said)
    procq.save(ongoing(other="yes"))
    until(lambda: "procq.yaml    ~ other" in procq.said(), procq.said)
    assert "nothing receives it" not in procq.said()
