"""Services of systemd for trials: units as `procq unit` prints them, and what systemd knows of them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 120.0
UNITS = Path("/etc/systemd/system")


def run(*words: str, code: int | None = 0, **more: Any) -> str:
    """What a command says; fails where it ends otherwise than with `code` (None: however)."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)
    assert code in (None, done.returncode), f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return f"{done.stdout}{done.stderr}"


def until(holds: Callable[[], Any], what: str, about: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited in vain for {what}\n{about()}"
        time.sleep(0.1)
    return found


class Service:
    """A project in a folder of its own, run by the system's systemd."""

    def __init__(self, folder: Path, name: str, manifest: str) -> None:
        self.name = f"{name}.service"
        self.manifest = folder / "procq.yaml"
        self.manifest.write_text(manifest)
        self.unit = UNITS / self.name
        self.unit.write_text(run("procq", "unit", str(self.manifest)))
        run("systemctl", "daemon-reload")

    def systemctl(self, *words: str, code: int | None = 0) -> str:
        return run("systemctl", *words, self.name, code=code)

    def show(self, name: str) -> str:
        return run("systemctl", "show", "--value", "-p", name, self.name).strip()

    def configure(self, **settings: str) -> None:
        """More settings, as `systemctl edit` writes them."""
        directory = UNITS / f"{self.name}.d"
        directory.mkdir(exist_ok=True)
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        (directory / "more.conf").write_text(f"[Service]\n{lines}")
        run("systemctl", "daemon-reload")

    def procq(self, *words: str, code: int | None = 0) -> str:
        return run("procq", *words, code=code, cwd=self.manifest.parent)

    def workers(self) -> list[dict[str, Any]]:
        """Those of `procq status --json`."""
        status = json.loads(self.procq("status", "--json", "*"))
        found: list[dict[str, Any]] = status["workers"]
        return found

    def inside(self) -> list[int]:
        """Every process of the service's cgroup and those below it."""
        top = Path("/sys/fs/cgroup", self.show("ControlGroup").lstrip("/") or "nowhere")
        return [int(pid) for file in top.rglob("cgroup.procs") for pid in file.read_text().split()]

    def journal(self) -> str:
        return run("journalctl", "-u", self.name, "-n", "50", "--no-pager", code=None)

    def remove(self) -> None:
        run("systemctl", "kill", "-s", "KILL", self.name, code=None)
        run("systemctl", "stop", self.name, code=None)
        run("systemctl", "reset-failed", self.name, code=None)
        self.unit.unlink(missing_ok=True)
