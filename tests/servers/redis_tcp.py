"""Redis on ports of this machine, with a password and with TLS, in memory only."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.rabbitmq import free_ports
from tests.servers.serving import program, serving

PASSWORD = "ge#he+im/:@%"


@dataclass(frozen=True)
class Ports:
    """Where it listens, plainly and by TLS; `certificate` is the file of who is trusted."""

    plain: int
    tls: int
    certificate: Path


@contextmanager
def redis_ports(folder: Path) -> Iterator[Ports]:
    """Runs Redis in `folder`, which is made for it. Its password is PASSWORD."""
    folder.mkdir(mode=0o700)
    certificate, key = _certificate(folder)
    plain, tls = free_ports(2)
    options = {
        "port": str(plain),
        "tls-port": str(tls),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-auth-clients": "no",
        "bind": "127.0.0.1",
        "requirepass": f'"{PASSWORD}"',
        "save": '""',
        "appendonly": "no",
        "dir": str(folder),
    }
    settings = folder / "redis.conf"
    settings.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    server = program("redis-server", "redis-server")
    with serving([server, settings], folder / "redis.log", lambda: _answers(plain)):
        yield Ports(plain, tls, certificate)


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    made = subprocess.run(
        [program("openssl", "openssl"), *words.split(), *names], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return certificate, key


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"-NOAUTH")
    return False
