"""The plain Procfile runs as it is, and grows by a command."""

from __future__ import annotations

import socket

import pytest

from tests.examples.running import run_example

pytestmark = [pytest.mark.examples, pytest.mark.process]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_procfile(tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.mktemp("p")
    with run_example("procfile", scratch, "Procfile", PORT=str(free_port())) as demo:
        demo.wait_for("the clock", demo.said("clock.1", "it is"))
        demo.wait_for("a page", demo.said("visitor.1", "200"))
        demo.command("scale", "clock=2")
        demo.wait_for("a second clock", demo.said("clock.2", "it is"))
        assert demo.interrupt() == 0
