"""Ports for workers that serve, and what these were asked."""

from __future__ import annotations

import socket
from pathlib import Path

SERVER = Path(__file__).parents[1] / "workers" / "server.py"


def free_ports(slots: int = 1) -> int:
    """A number that makes a port nobody has, with any of `slots` behind it."""
    for number in range(2_000, 3_200):
        if all(_is_free(number * 10 + slot) for slot in range(1, slots + 1)):
            return number
    raise AssertionError("every port is taken")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def asked(folder: Path, slot: int = 1) -> list[str]:
    """Lines `PID PATH` of what a worker was asked so far."""
    path = folder / f"asked.{slot}"
    return path.read_text().splitlines() if path.exists() else []
