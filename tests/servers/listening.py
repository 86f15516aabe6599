"""Servers that are none: one that never answers, one that says something else, and a page of HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Pages = Mapping[str, tuple[int, str]]
"""Status and body by target."""


@contextmanager
def silent() -> Iterator[int]:
    """A port on which connections are made, by the kernel, and nobody says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def babbling(said: bytes) -> Iterator[int]:
    """A port on which each that connects is told this."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.sendall(said)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(4096):
                            pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def dripping(first: bytes, drop: bytes) -> Iterator[int]:
    """A port on which whoever connects is told something, and then more and more, very slowly, for half a minute."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(first)
                    for _ in range(300):
                        connection.sendall(drop)
                        if over.wait(0.1):
                            return

        over = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def unused() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def pages(found: Pages, authorization: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """A server of HTTP on a port; yields that, and the targets that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = found.get(self.path, (404, "no such page"))
            if authorization is not None and self.headers["Authorization"] != authorization:
                status, body = 401, "who are you?"
            self.send_response(status)
            if status in range(300, 400):
                self.send_header("Location", body)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()
