"""A copy of an example, run as a person runs it: `procq up` in its folder, output read line by line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from procq import wire

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PREFIXED = re.compile(r"^(?P<worker>[\w-]+\.\d+)\s+\|\s?(?P<text>.*)$")
PATIENCE = 60.0  # seconds; only ever spent by a test that fails


class Running:
    """A running example. `folder` is its scratch copy; everything it writes is below that, or below `private`."""

    def __init__(self, folder: Path, private: Path, file: str, **variables: str) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(private),
            "XDG_STATE_HOME": str(private),
            **variables,
        }
        self._news = threading.Condition()
        self._lines: list[str] = []
        self._ended = False
        self.process = subprocess.Popen(
            [BIN / "procq", "up", folder / file],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, what: str, condition: Callable[[list[str]], Any]) -> None:
        """Returns once `condition` holds for the lines so far; fails with all of them when it cannot any more."""
        with self._news:
            held = self._news.wait_for(lambda: condition(self._lines) or self._ended, PATIENCE)
            output = "\n".join(self._lines)
            assert held, f"waited in vain for {what}; output:\n{output}"
            assert condition(self._lines), f"procq ended before {what}; output:\n{output}"

    def said(self, worker: str, text: str) -> Callable[[list[str]], bool]:
        """A condition: the worker has written a line that contains `text`."""
        return lambda lines: any(
            (found := PREFIXED.match(line)) and found["worker"] == worker and text in found["text"] for line in lines
        )

    def command(self, *arguments: str) -> str:
        """Runs another `procq` command in the folder and returns its output; fails where it does."""
        done = subprocess.run(
            [BIN / "procq", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def workers(self, queue: str) -> dict[str, tuple[int, float]]:
        """Pid and start time of each running worker of a queue."""
        status = wire.from_json(wire.StatusView, self.command("status", "--json"))
        return {
            each.id: (each.pid, psutil.Process(each.pid).create_time())
            for each in status.workers
            if each.queue == queue and each.state == "running" and each.pid is not None
        }

    def interrupt(self) -> int:
        """What ^C does; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def close(self) -> None:
        """Ends procq if it still runs, by force if it must be."""
        assert self.process.stdout is not None
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self._reader.join(PATIENCE)
            self.process.stdout.close()

    def left_behind(self) -> list[str]:
        """Processes that still work in the folder."""
        found = []
        for each in psutil.process_iter(["cwd", "cmdline"]):
            if (each.info["cwd"] or "").startswith(str(self.folder)):
                found.append(f"{each.pid}: {each.info['cmdline']}")
        return found


@contextmanager
def run_example(name: str, scratch: Path, file: str = "procq.yaml", **variables: str) -> Iterator[Running]:
    """Runs a copy of `examples/NAME` below `scratch`, and leaves nothing behind whatever happens."""
    folder, private = scratch / name, scratch / "run"
    shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    private.mkdir(mode=0o700)
    running = Running(folder, private, file, **variables)
    try:
        yield running
    finally:
        running.close()
    assert running.left_behind() == []
