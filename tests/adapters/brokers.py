"""A RabbitMQ of the test's own: on free ports of this machine, with everything it writes in its scratch folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.process.support.waiting import until

PATIENCE = 120.0  # seconds; only ever spent by a test that fails
MISSING = "{} is not installed: apt-get install rabbitmq-server (the package has this name on Debian and Ubuntu)"
PATH = f"{os.environ['PATH']}:/usr/sbin"
LOOK = 0.1  # seconds between two looks whether it is there
HELLO = b"AMQP\0\0\x09\x01"
METHOD = b"\1"
"""The first byte of an answer to it: the frame that begins a connection."""


def installed(name: str) -> Path:
    """The path of a program. Where it is missing the test is skipped on a person's machine, and fails in CI."""
    found = shutil.which(name, path=PATH)
    if found is not None:
        return Path(found).resolve()
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING.format(name))
    pytest.skip(MISSING.format(name))


def server_program() -> Path:
    """RabbitMQ's own script. Debian has another one before it, which becomes another user."""
    program = installed("rabbitmq-server")
    return program.with_name("rabbitmq-server") if program.name == "rabbitmq-script-wrapper" else program


@contextmanager
def rabbitmq_server(folder: Path) -> Iterator[str]:
    """Runs RabbitMQ below `folder`, which it must not share; yields its URL."""
    programs = installed("epmd"), server_program()
    folder.mkdir(mode=0o700)
    port, distribution, names = free_ports(3)
    environment = _environment(folder, port, distribution, names)
    # It would start this one by itself, in the background, and leave it behind.
    with (
        _running([programs[0], "-port", str(names)], environment, folder / "epmd.log"),
        _running([programs[1]], environment, folder / "rabbitmq.log") as server,
    ):

        def begun() -> bool:
            assert server.poll() is None, (folder / "rabbitmq.log").read_text()
            return _answers(port)

        until(begun, lambda: f"RabbitMQ: {(folder / 'rabbitmq.log').read_text()}", PATIENCE)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"


def _environment(folder: Path, port: int, distribution: int, names: int) -> dict[str, str]:
    for empty in ("enabled_plugins", "rabbitmq.conf", "rabbitmq-env.conf"):
        (folder / empty).touch()
    (folder / "enabled_plugins").write_text("[].\n")
    own = {
        "RABBITMQ_NODENAME": f"procq-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
    }
    # Idle schedulers of Erlang turn in circles for a while, which others on the machine need not suffer from.
    erlang = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"}
    epmd = {"ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(names)}
    # With the last one Erlang takes the place of the script, which would not pass on signals quickly.
    return {"PATH": PATH, "HOME": str(folder), **own, **erlang, **epmd, "RUNNING_UNDER_SYSTEMD": "true"}


@contextmanager
def _running(command: list[Path | str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, env=environment, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(HELLO)
        return connection.recv(1) == METHOD
    time.sleep(LOOK)
    return False


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nobody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
