"""How the API treats whoever talks to it: what it refuses, and whom it cuts off."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from procq.api import bodies as bodies_module
from procq.api import server as server_module
from procq.client import Client, Refused
from procq.errors import NotRunning
from tests.unit.api.serving import PATIENCE, Served


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/v1/nothing", None, {}, 404),
        ("DELETE", "/v1/queues/emails", None, {}, 405),
        ("POST", "/v1/restarts", b"{", {}, 400),
        ("POST", "/v1/restarts", b"[" * 100_000, {}, 400),
        ("POST", "/v1/restarts", b"\xff\xfe", {}, 400),
        ("POST", "/v1/restarts", [], {}, 400),
        ("POST", "/v1/restarts", {"targets": "emails"}, {}, 400),
        ("POST", "/v1/restarts", {"targets": []}, {}, 400),
        ("POST", "/v1/restarts", {"targets": ["emails"], "command": "sh"}, {}, 400),
        ("POST", "/v1/restarts", {"targets": ["emails"], "rolling": "yes"}, {}, 400),
        ("PATCH", "/v1/queues/emails", {}, {}, 400),
        ("PATCH", "/v1/queues/emails", {"running": "no"}, {}, 400),
        ("PATCH", "/v1/workers", {"running": False}, {}, 400),
        ("PATCH", "/v1/workers?target=emails", {}, {}, 400),
        ("PATCH", "/v1/queues/emails", {"workers": 3}, {"Content-Type": "text/plain"}, 415),
        ("PATCH", "/v1/queues/emails", b" " * ((1 << 20) + 1), {}, 413),
        ("GET", "/v1/plan?file=draft.yaml", None, {}, 400),
        ("GET", "/v1/plan?file=/draft%00.yaml", None, {}, 400),
    ],
)
def test_what_cannot_be_done_is_refused_with_problem_details(
    shop: Served, method: str, path: str, body: object, headers: dict[str, str], status: int
) -> None:
    answered, problem, answer_headers = shop.request(method, path, body, headers)
    assert answered == status
    assert answer_headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"]
    assert Client(shop.project).queue("emails") == replace(Client(shop.project).queue("emails"), desired=2, stopped=0)


def test_a_fault_of_ours_is_told_and_shown(
    shop: Served, client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shop.control, "facts", lambda: 1 / 0)
    status, problem, headers = shop.request("GET", "/v1/status")
    assert (status, headers["content-type"]) == (500, "application/problem+json")
    assert "ZeroDivisionError" in problem["detail"]
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert client.queue("emails").desired == 2


def test_a_head_that_is_too_large_is_refused(shop: Served) -> None:
    assert shop.request("GET", "/healthz", headers={"X-Large": "x" * 4_000})[0] == 200
    assert shop.request("GET", "/healthz", headers={"X-Large": "x" * 20_000})[0] == 431
    assert shop.request("GET", "/healthz?" + "x" * 20_000)[0] == 431


def test_a_path_that_is_no_unicode_can_be_answered(shop: Served, client: Client) -> None:
    shop.control.manifest_error = "caf\udce9.yaml"
    assert client.status().manifest_error == "caf\ufffd.yaml"
    client.plan("/srv/caf\udce9.yaml")
    assert shop.control.planned == "/srv/caf\udce9.yaml"


def test_others_are_cut_off_before_they_are_heard(shop: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "peer_uid", lambda peer: os.geteuid() + 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.settimeout(PATIENCE)
        other.connect(shop.project.api_socket)
        assert _answer(other) == b""


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTT"])
def test_who_says_nothing_is_cut_off(shop: Served, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(server_module, "FIRST_REQUEST", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.settimeout(PATIENCE)
        silent.connect(shop.project.api_socket)
        silent.sendall(said)
        assert silent.recv(100) == b""


def test_workers_that_are_too_many_are_not_waited_for(shop: Served, client: Client) -> None:
    client.scale("emails", "1")
    assert client.restart(["emails"]).workers == ("emails.1",)
    assert [(worker.id, worker.wanted) for worker in client.workers(["emails"])] == [
        ("emails.1", True),
        ("emails.2", False),
    ]


def test_who_does_not_finish_a_request_is_cut_off(shop: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies_module, "PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
        slow.settimeout(PATIENCE)
        slow.connect(shop.project.api_socket)
        slow.sendall(b"PATCH /v1/queues/emails HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = b""
        while piece := slow.recv(1000):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"has not arrived" in answer


def test_too_many_connections_are_told(shop: Served, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop.server.config, "limit_concurrency", 0)
    with pytest.raises(Refused, match="busy"):
        client.status()


def test_the_peer_is_who_the_kernel_says() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert server_module.peer_uid(one) == os.geteuid()


def test_answers_carry_neither_date_nor_server(shop: Served) -> None:
    headers = {name.lower() for name in shop.request("GET", "/v1/queues")[2]}
    assert headers.isdisjoint({"date", "server"})


def test_a_server_that_nobody_asks_does_nothing(shop: Served) -> None:
    """No timer of the loop is due: what does not wake costs nothing."""
    shop.request("GET", "/v1/queues")
    deadline = time.monotonic() + PATIENCE
    while shop.timers() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert shop.timers() == 0


def test_nobody_there(short_path: Path, shop: Served) -> None:
    nobody = replace(shop.project, run_dir=str(short_path / "nothing"))
    with pytest.raises(NotRunning):
        Client(nobody).status()


def _answer(other: socket.socket) -> bytes:
    try:
        other.sendall(b"GET /v1/queues HTTP/1.1\r\nHost: x\r\n\r\n")
        return other.recv(100)
    except ConnectionError:
        return b""


def test_who_has_connected_before_the_end_is_answered(shop: Served) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as late, socket.socket(socket.AF_UNIX) as silent:
        for each in (late, silent):
            each.settimeout(PATIENCE)
            each.connect(shop.project.api_socket)
        assert shop.request("GET", "/healthz")[0] == 200, "both were accepted before"
        shop.call(shop.server.stop)
        shop.call(lambda: None)
        late.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while piece := late.recv(1000):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert silent.recv(100) == b""
