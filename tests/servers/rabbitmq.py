"""RabbitMQ on free ports of this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers.serving import program, serving

PATH = f"{os.environ['PATH']}:/usr/sbin"
HELLO = b"AMQP\0\0\x09\x01"
METHOD = b"\1"
"""The first byte of an answer to it: the frame that begins a connection."""


@contextmanager
def rabbitmq_server(folder: Path) -> Iterator[str]:
    """Runs RabbitMQ in `folder`, which is made for it; yields its URL."""
    programs = _installed("epmd"), _own_script()
    folder.mkdir(mode=0o700)
    port, distribution, names = free_ports(3)
    environment = _environment(folder, port, distribution, names)
    # It would start this one by itself, in the background, and leave it behind.
    with (
        serving([programs[0], "-port", str(names)], folder / "epmd.log", env=environment),
        serving([programs[1]], folder / "rabbitmq.log", lambda: _answers(port), env=environment),
    ):
        yield f"amqp://guest:guest@127.0.0.1:{port}//"


def _installed(name: str) -> Path:
    return program(name, "rabbitmq-server", PATH).resolve()


def _own_script() -> Path:
    """RabbitMQ's own script. Debian has another one before it, which becomes another user."""
    found = _installed("rabbitmq-server")
    return found.with_name("rabbitmq-server") if found.name == "rabbitmq-script-wrapper" else found


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


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(HELLO)
        return connection.recv(1) == METHOD
    return False


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nobody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
