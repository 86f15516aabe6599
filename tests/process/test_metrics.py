"""/metrics of a real procq: on its socket, on a port, and as a real Prometheus reads it."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.exposition import Page, parse
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import WORKERS
from tests.process.support.project import Procq
from tests.process.support.versions import Version
from tests.process.support.waiting import until
from tests.servers.prometheus import labels, prometheus
from tests.servers.rabbitmq import free_ports
from tests.servers.serving import program

pytestmark = pytest.mark.process
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DASHBOARD = Path(__file__).parents[2] / "examples" / "monitoring" / "dashboard.json"
CANARY = "s3cret-canary"


class OnSocket(http.client.HTTPConnection):
    """HTTP on a unix socket, as `curl --unix-socket` speaks it."""

    def __init__(self, path: str) -> None:
        super().__init__("procq", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


Answer = tuple[int, str, str]


def get(
    connection: http.client.HTTPConnection, target: str = "/metrics", method: str = "GET", **headers: str
) -> Answer:
    """Status, type and body."""
    with closing(connection):
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


def by_socket(procq: Procq) -> Page:
    status, kind, body = get(OnSocket(procq.project.api_socket))
    assert (status, kind) == (200, CONTENT_TYPE)
    return parse(body)


def by_port(port: int, target: str = "/metrics", method: str = "GET", **headers: str) -> Answer:
    return get(http.client.HTTPConnection("127.0.0.1", port, timeout=10), target, method, **headers)


def loops(folder: Path, workers: str = "2", more: str = "") -> str:
    command = f"{sys.executable} -I {WORKERS / 'loop.py'} {folder}"
    more = f"    stop:\n      grace: 100ms\n{more}"
    return f"queues:\n  a:\n    command: {command}\n    workers: {workers}\n    ready: notify\n{more}"


def jobs(folder: Path, *seconds: float, first: int = 1) -> None:
    for number, takes in enumerate(seconds, first):
        beside = folder / f"{number}.tmp"
        beside.write_text(str(takes))
        beside.rename(folder / f"{number}.job")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "spool"
    made.mkdir()
    return made


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def set_up(procq: Procq, port: int, exporters: str = "prometheus") -> Procq:
    procq.environment |= {"OTEL_METRICS_EXPORTER": exporters, "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    return procq


def exported(procq: Procq, port: int, workers: int, exporters: str = "prometheus") -> Procq:
    """Runs, and has the port open."""
    set_up(procq, port, exporters).start(workers)
    until(lambda: answers(port), "the port")
    # The port is a descriptor that it keeps.
    return procq.began()


def answers(port: int) -> bool:
    try:
        return by_port(port)[0] == 200
    except OSError:
        return False


def test_the_socket_tells_of_jobs_workers_and_starts(procqs: Procqs, folder: Path) -> None:
    manifest = loops(folder) + "  b:\n    command: sleep 1000\n    workers: 3\n"
    procq = procqs(manifest).start(5)
    jobs(folder, 0.0, 0.0, 0.0, 30.0)
    until(lambda: by_socket(procq).of("procq_queue_jobs_finished_total", queue="a") == 3, "three jobs")
    until(lambda: by_socket(procq).of("procq_queue_workers_busy", queue="a") == 1, "one at work")
    page = by_socket(procq)
    expected = {
        "procq_up": 1,
        "procq_control_plane_starts_total": 1,
        "procq_manifest_valid": 1,
        'procq_queue_workers{queue="a",state="running"}': 2,
        'procq_queue_workers{queue="b",state="running"}': 3,
        'procq_queue_workers_desired{queue="b"}': 3,
        'procq_queue_jobs_running{queue="a"}': 1,
        'procq_queue_jobs_failed_total{queue="a"}': 0,
        'procq_queue_jobs_finished_total{queue="b"}': None,
        'messaging_process_duration_seconds_count{queue="a"}': 3,
        'procq_queue_spawn_duration_seconds_count{queue="a"}': 2,
        'procq_queue_spawn_duration_seconds_count{queue="b"}': 3,
        'procq_queue_boot_duration_seconds_count{queue="a"}': 2,
        'procq_queue_boot_duration_seconds_count{queue="b"}': None,
        'procq_queue_restarts_total{queue="b",reason="killed"}': 0,
        'procq_queue_restarts_total{queue="b",reason="asked"}': None,
    }
    assert {key: page.at(key) for key in expected} == expected
    resident = page.of("process_memory_usage_bytes", queue="a", slot="1")
    assert resident is not None and resident > 1 << 20
    lag = page.of("procq_control_plane_lag_seconds_sum")
    assert lag is not None and 0 < lag < 5


def test_ends_restarts_and_reloads_are_counted(procqs: Procqs) -> None:
    manifest = "queues:\n  a:\n    command: sleep 1000\n    workers: 2\n    restart:\n      backoff: 10ms..1s\n"
    procq = procqs(manifest).start(2)
    procq.command("restart", "a.1")
    pid = next(each.pid for each in procq.status().workers if each.id == "a.2")
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    ended = 'procq_queue_exits_total{queue="a",cause="killed"}'
    until(lambda: by_socket(procq).at(ended) == 1, "its end")
    again = 'procq_queue_restarts_total{queue="a",reason="killed"}'
    until(lambda: by_socket(procq).at(again) == 1, "another one")
    assert by_socket(procq).at('procq_queue_restarts_total{queue="a",reason="asked"}') == 1
    assert by_socket(procq).at('procq_queue_exits_total{queue="a",cause="asked"}') == 1
    procq.save("queues:\n  a:\n    workers: 2\n")
    until(lambda: by_socket(procq).of("procq_manifest_valid") == 0, "the error")
    procq.save(manifest.replace("workers: 2", "workers: 1"))
    until(lambda: by_socket(procq).of("procq_queue_workers_desired", queue="a") == 1, "the change")
    page = by_socket(procq)
    assert page.of("procq_manifest_reloads_total", result="refused") == 1
    assert page.of("procq_manifest_reloads_total", result="ok") == 1


def test_what_procq_itself_costs_is_told_of_each_process(procqs: Procqs) -> None:
    procq = procqs("queues:\n  a: sleep 1000\n").start(1)
    pids = {"keeper": procq.info().pid, "control_plane": procq.control_plane()}
    page = by_socket(procq)
    for process, pid in pids.items():
        known = psutil.Process(pid)
        used = page.of("procq_process_cpu_time_seconds_total", process=process)
        assert used is not None and used <= sum(known.cpu_times()[:2]) + 0.02
        memory = page.of("procq_process_memory_usage_bytes", process=process)
        assert memory == pytest.approx(known.memory_info().rss, rel=0.2)
        assert page.of("procq_process_threads", process=process) == pytest.approx(known.num_threads(), abs=2)
        opened = page.of("procq_process_file_descriptors", process=process)
        assert opened == pytest.approx(known.num_fds(), abs=4)
    assert page.of("procq_process_uptime_seconds", process="keeper") == pytest.approx(
        page.of("procq_uptime_seconds"), abs=2
    )
    before = page.of("procq_process_cpu_time_seconds_total", process="control_plane")

    def more() -> bool:
        now = by_socket(procq).of("procq_process_cpu_time_seconds_total", process="control_plane")
        return now is not None and before is not None and now > before

    until(more, "what asking costs to be told")


def test_processor_time_of_workers_grows_from_one_look_to_the_next(procqs: Procqs, tmp_path: Path) -> None:
    script = tmp_path / "busy.py"
    script.write_text("while True: pass\n")
    procq = procqs(f"queues:\n  a: {sys.executable} -I {script}\n").start(1)
    name = 'process_cpu_time_seconds_total{queue="a",slot="1"}'
    assert by_socket(procq).at(name) == 0, "what came before the first look is not counted"
    began = time.monotonic()
    until(lambda: (by_socket(procq).at(name) or 0.0) > 0.2, "some processor time")
    used = by_socket(procq).at(name) or 0.0
    assert 0.2 < used <= time.monotonic() - began + 0.1


def test_counters_of_jobs_outlive_workers_and_control_planes(procqs: Procqs, folder: Path) -> None:
    procq = procqs(loops(folder)).start(2)
    jobs(folder, *[0.0] * 4)
    done = 'procq_queue_jobs_finished_total{queue="a"}'
    until(lambda: by_socket(procq).at(done) == 4, "four jobs")
    procq.command("restart", "a")
    procq.kill_control_plane()
    page = until(lambda: page if (page := by_socket(procq)).at(done) == 4 else None, "the same number")
    assert page is not None and page.of("procq_control_plane_starts_total") == 2
    assert page.at('messaging_process_duration_seconds_count{queue="a"}') == 4


def test_restarts_by_reason_outlive_control_planes(procqs: Procqs, tmp_path: Path) -> None:
    """What the next one has taken up is the same to the unit, and goes on."""
    (tmp_path / "code").write_text("7")
    command = f"sh -c 'read code < {tmp_path}/code; [ $code = go ] && exec sleep 1000; exit $code'"
    manifest = f"""queues:
  a:
    command: {command}
    restart:
      backoff: 10ms..50ms
  b:
    command: sleep 1000
    limits:
      age: 1s
"""
    procq = procqs(manifest).start()

    def number(queue: str, reason: str) -> float:
        return by_socket(procq).of("procq_queue_restarts_total", queue=queue, reason=reason) or 0

    until(lambda: number("a", "failed") > 3 and number("b", "limit_age") >= 1, "restarts of both")
    (tmp_path / "code").write_text("go")
    procq.save(manifest.replace("age: 1s", "age: 1h"))
    procq.wait_running(2)
    psutil.Process(procq.workers()["a.1"].pid).kill()
    until(lambda: number("a", "killed") == 1, "another one")
    before = {each: number(*each) for each in (("a", "failed"), ("a", "killed"), ("b", "limit_age"))}
    assert procq.queue("a").restarts == before["a", "failed"] + 1
    assert procq.queue("b").restarts == 0, "nobody failed"
    procq.command("upgrade")
    until(lambda: by_socket(procq).of("procq_control_plane_starts_total") == 2, "another control plane")
    assert {each: number(*each) for each in before} == before
    psutil.Process(procq.workers()["a.1"].pid).kill()
    until(lambda: number("a", "killed") == 2, "another one")


# --- on a port ------------------------------------------------------------------------------------------------------


def test_a_port_has_metrics_and_nothing_else(procqs: Procqs, port: int) -> None:
    procq = exported(procqs(f"env:\n  TOKEN: {CANARY}\nqueues:\n  a: sleep 1000\n"), port, 1, "otlp, Prometheus")
    status, kind, body = by_port(port)
    assert (status, kind) == (200, CONTENT_TYPE)
    assert parse(body).of("procq_queue_workers", queue="a", state="running") == 1
    assert CANARY not in body and "sleep" not in body
    assert set(parse(body).kinds) == set(by_socket(procq).kinds)
    assert by_port(port, "/metrics?x=1")[0] == 200
    for target in ("/", "/v1/status", "/metrics/", "/healthz", "/metricsx", "//metrics"):
        assert by_port(port, target)[0] == 404, target
    for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        assert by_port(port, method=method)[0] == 405, method
    for host in ("example.com", "127.0.0.1.example.com:80", ""):
        assert by_port(port, Host=host)[0] == 421, host
    for host in (f"localhost:{port}", "[::1]:1", "127.0.0.1"):
        assert by_port(port, Host=host)[0] == 200, host
    assert procq.workers()


def said_to(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(text)
        found = b""
        while received := connection.recv(1 << 16):
            found += received
        return found


def test_who_speaks_no_http_is_cut_off_and_holds_up_nobody(procqs: Procqs, port: int) -> None:
    procq = exported(procqs("queues:\n  a: sleep 1000\n"), port, 1)
    assert b" 400 " in said_to(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").partition(b"\r\n")[0]
    large = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000
    assert b" 431 " in said_to(port, large).partition(b"\r\n")[0]
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    try:
        for connection in silent[:16]:
            connection.setblocking(False)
        until(lambda: answers(port), "the silent ones to be cut off", 30)
        began = time.monotonic()
        assert procq.command("status")
        assert time.monotonic() - began < 5
    finally:
        for connection in silent:
            connection.close()


def test_a_port_that_is_taken_is_told_and_costs_nothing_else(procqs: Procqs, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        procq = set_up(procqs(loops(folder)), port).start(2)
        told = f"metrics are not served: cannot listen on 127.0.0.1:{port}: "
        until(lambda: told in procq.said(), "the trouble to be told")
        assert procq.said().count(told) == 1
        assert told in procq.command("events")
        jobs(folder, 0.0)
        until(lambda: by_socket(procq).of("procq_queue_jobs_finished_total", queue="a") == 1, "work to go on")
    until(lambda: answers(port), "the port, once it is free", 30)
    procq.began()


def test_a_port_that_is_none_is_told(procqs: Procqs) -> None:
    procq = procqs("queues:\n  a: sleep 1000\n")
    procq.environment |= {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "http"}
    procq.start(1)
    until(lambda: 'OTEL_EXPORTER_PROMETHEUS_PORT is "http"' in procq.said(), "the trouble to be told")


def test_another_control_plane_has_the_port_again(procqs: Procqs, port: int) -> None:
    procq = exported(procqs("queues:\n  a: sleep 1000\n"), port, 1)
    procq.kill_control_plane()
    until(lambda: answers(port), "the port")
    assert "metrics are not served" not in procq.said()


# --- Prometheus -----------------------------------------------------------------------------------------------------


def test_promtool_finds_nothing_wrong(procqs: Procqs, folder: Path) -> None:
    checker = program("promtool", "prometheus")
    procq = procqs(loops(folder, "1..2", f"    source: file:{folder}?pattern=*.job\n")).start(1)
    jobs(folder, 0.0, 0.0)
    until(lambda: by_socket(procq).of("procq_queue_jobs_finished_total", queue="a") == 2, "two jobs")
    until(lambda: by_socket(procq).of("procq_queue_jobs_waiting", queue="a") == 0, "an answer of the source")
    page = get(OnSocket(procq.project.api_socket))[2]
    done = subprocess.run([checker, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_output_is_counted_to_the_byte_and_the_counts_outlive_who_counts(procqs: Procqs, tmp_path: Path) -> None:
    """A worker of two writes 1,000 lines on each stream, and is started anew."""
    command = f"{sys.executable} {WORKERS / 'numbered.py'} 1000"
    procq = procqs(f"queues:\n  a:\n    command: {command}\n    workers: 2\n  silent: sleep 1000\n").start(3)
    each = sum(len(f"a.1 {stream} {n}\n") for stream in ("stdout", "stderr") for n in range(1000))

    def counted() -> tuple[float | None, ...]:
        page = by_socket(procq)
        names = ("procq_queue_output_bytes_total", "procq_queue_output_lines_total")
        return tuple(page.of(name, queue=queue) for queue in ("a", "silent") for name in names)

    until(lambda: counted() == (2 * each, 4000, 0, 0), lambda: str(counted()))
    procq.kill_control_plane()
    assert counted() == (2 * each, 4000, 0, 0)
    Version(tmp_path, "7.0.0").take_over(procq)
    assert counted() == (2 * each, 4000, 0, 0)
    procq.command("restart", "a.1")
    until(lambda: counted() == (3 * each, 6000, 0, 0), lambda: str(counted()))
    page = by_socket(procq)
    for sink in ("console", "file", "reader"):
        assert page.of("procq_queue_output_dropped_bytes_total", queue="a", sink=sink) == 0


def shown() -> Iterator[str]:
    """What the dashboard asks for, for all queues."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield re.sub(r"\$(instance|queue)", ".*", target["expr"]).replace("$__rate_interval", "1m")


def test_prometheus_answers_for_backlog_workers_and_jobs_by_queue(
    procqs: Procqs, folder: Path, tmp_path: Path, port: int
) -> None:
    more = f"    source: file:{folder}?pattern=*.job\n    scale:\n      wait: 45s\n"
    manifest = loops(folder, "1..2", more) + "  idle:\n    command: sleep 1000\n    workers: 3\n"
    procq = exported(procqs(manifest), port, 4)
    jobs(folder, 0.0, 0.0, 0.0, 60.0, 60.0)
    jobs(folder, *[60.0] * 4, first=6)
    with prometheus(tmp_path / "prometheus", port) as server:
        a, idle = labels(queue="a"), labels(queue="idle")

        def known(expression: str, expected: object) -> None:
            until(lambda: server.query(expression) == expected, lambda: f"{expression}: {server.query(expression)}", 60)

        known("procq_queue_jobs_waiting", {a: 4})
        known('procq_queue_workers{state="running"}', {a | {("state", "running")}: 2, idle | {("state", "running")}: 3})
        known("procq_queue_jobs_finished_total", {a: 3})
        known("messaging_process_duration_seconds_count", {a: 3})
        known("procq_queue_jobs_running", {a: 2})
        known("procq_queue_wait_objective_seconds", {a: 45})
        known("sum by (queue) (procq_queue_workers_desired)", {a: 2, idle: 3})
        known("up", {labels(): 1})
        assert server.query("procq_queue_wait_oldest_seconds")[a] > 0
        assert server.query("sum by (queue) (procq_queue_scaling_decisions_total)")[a] > 0
        assert server.query("histogram_quantile(0.95, messaging_process_duration_seconds_bucket)")[a] < 1
        # A change is seen, and what the dashboard asks for is understood.
        procq.command("scale", "idle=1")
        known("procq_queue_workers_desired", {a: 2, idle: 1})
        for expression in shown():
            status, body = server.ask(expression)
            assert status == 200, f"{expression}: {body}"
