"""`procq up` on a manifest, as a person runs it, and what can be asked of it and done to it."""

from __future__ import annotations

import marshal
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from procq import wire
from procq.client import Client, KeeperInfo
from procq.errors import ProcqError
from procq.paths import locate
from tests.process.support import cgroups, processes
from tests.process.support.oracle import Oracle, keeper_excess, settled
from tests.process.support.processes import Stat
from tests.process.support.waiting import PATIENCE, until

PROCQ = Path(sys.executable).parent / "procq"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What keeper and control plane have open when nothing has happened yet."""

    keeper: Counter[str]
    control_plane: int
    workers: int


class Procq:
    """One project in a folder of its own. `start` runs it; `finish` ends it and looks for what it forgot."""

    def __init__(
        self, oracle: Oracle, folder: Path, run_root: Path, manifest: str, *, file: str = "procq.yaml"
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.manifest = folder / file
        self.manifest.write_text(manifest)
        self.output = folder / "output.txt"
        self.oracle = oracle
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(run_root),
            "XDG_STATE_HOME": str(folder / "state"),
            "NO_COLOR": "1",
            processes.COOKIE: oracle.cookie,
        }
        self.project = locate(str(self.manifest), None, self.environment)
        self.client = Client(self.project)
        self.process: subprocess.Popen[bytes] | None = None
        self.baseline: Baseline | None = None

    # Starting

    def start(self, workers: int | None = None, stdout: int | IO[bytes] | None = None, **more: Any) -> Procq:
        """Runs `procq up`, and waits until it is ready and has `workers` running."""
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [PROCQ, "up", self.manifest],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=subprocess.STDOUT,
                **more,
            )
        return self.began(workers)

    def start_by(self, command: Sequence[str], hosting: dict[str, Any]) -> None:
        """Runs a program that becomes procq as the `hosting` that it reads says."""
        with open(self.output, "ab") as output, tempfile.TemporaryFile() as told:
            marshal.dump(hosting, told)
            told.seek(0)
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdin=told, stdout=output, stderr=subprocess.STDOUT
            )

    def began(self, workers: int | None = None) -> Procq:
        """Waits until it is ready, however it was started."""
        until(self._ready_or_ended, lambda: f"procq to be ready; it said: {self.said()}")
        assert self.ready(), f"procq ended before it was ready; it said: {self.said()}"
        if workers is not None:
            self.wait_running(workers)
        info = self.info()
        self.oracle.knows(processes.instance(self.control_plane()) or 0)
        running = len(self.workers())
        # What it watches the manifest with comes a moment after readiness.
        settled(lambda: [] if "anon_inode:inotify" in processes.descriptors(self.control_plane()) else ["no watch"])
        opened = sum(processes.descriptors(self.control_plane()).values())
        self.baseline = Baseline(processes.descriptors(info.pid), opened, running)
        return self

    def ready(self) -> bool:
        try:
            return self.info().ready
        except ProcqError:
            return False

    def _ready_or_ended(self) -> bool:
        return self.ready() or (self.process is not None and self.process.poll() is not None)

    # Asking

    def info(self) -> KeeperInfo:
        return self.client.info()

    def status(self) -> wire.StatusView:
        return self.client.status(["*"])

    def queue(self, name: str) -> wire.QueueView:
        return next(queue for queue in self.status().queues if queue.name == name)

    def workers(self, queue: str | None = None) -> dict[str, Stat]:
        """What runs, by worker: equal values are the same process."""
        seen = {
            each.id: processes.stat(each.pid)
            for each in self.status().workers
            if each.state == "running" and each.pid is not None and queue in (None, each.queue)
        }
        return {worker: stat for worker, stat in seen.items() if stat is not None}

    def wait_running(self, n: int, queue: str | None = None) -> dict[str, Stat]:
        """Waits until exactly `n` run and nothing is on its way."""

        def all_there() -> dict[str, Stat] | None:
            states = Counter(each.state for each in self.status().workers if queue in (None, each.queue))
            found = (
                self.workers(queue) if states["running"] == n and not states["stopping"] + states["starting"] else {}
            )
            return found if len(found) == n and n else None

        if n == 0:
            until(lambda: not self.workers(queue), lambda: f"no worker to run; procq said: {self.said()}")
            return {}
        return until(all_there, lambda: f"{n} workers to run; procq said: {self.said()}") or {}

    def control_plane(self) -> int:
        """The pid of the one that is ready."""

        def found() -> int | None:
            info = self.info()
            return info.control_plane if info.ready else None

        return until(found, "a control plane") or 0

    def said(self) -> str:
        """What it has written to its terminal."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def command(self, *arguments: str, code: int = 0) -> str:
        """Runs another `procq` command as a person does, and returns what it says; fails where it ends otherwise."""
        done = subprocess.run(
            [PROCQ, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, f"procq {' '.join(arguments)}: {done.returncode}\n{done.stderr}{done.stdout}"
        return done.stdout + done.stderr

    # Doing

    def save(self, manifest: str) -> None:
        """Writes in place, as `>` does."""
        self.manifest.write_text(manifest)

    def replace(self, manifest: str) -> None:
        """Writes beside it and renames, as editors do."""
        draft = self.manifest.with_name(".draft")
        draft.write_text(manifest)
        draft.rename(self.manifest)

    def signal(self, number: int) -> None:
        """To the process that was started."""
        assert self.process is not None
        self.process.send_signal(number)

    def has_left(self) -> bool:
        """Whether it has ended."""
        assert self.process is not None
        return self.process.poll() is not None

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, once it has ended."""
        assert self.process is not None
        return self.process.wait(seconds)

    def kill_control_plane(self) -> None:
        """SIGKILL; returns once another one is ready."""
        before = self.info()
        assert before.control_plane is not None
        os.kill(before.control_plane, signal.SIGKILL)
        until(lambda: self.info().starts > before.starts and self.ready(), "another control plane")

    # The end

    def tidy_up(self) -> None:
        """Removes what a procq that was killed could not: sockets, the record of its life, and its control group."""
        for socket in (self.project.keeper_socket, self.project.api_socket):
            os.unlink(socket)
        Path(self.project.run_dir, "life").unlink(missing_ok=True)
        for group in cgroups.bases():
            if f"-{Path(self.project.run_dir).name}-" in group.name:
                cgroups.remove(group)

    def finish(self) -> None:
        """Teardown: nothing is left open, then nothing is left at all."""
        process = self.process
        if process is None:
            return
        try:
            if self.baseline and process.poll() is None and self.ready() and not self.info().shutting_down:
                excess = settled(self._excess)
                assert not excess, f"left open: {excess}"
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise

    def _excess(self) -> list[str]:
        assert self.baseline is not None
        info, running = self.info(), sum(1 for each in self.status().workers if each.pid is not None)
        found = keeper_excess(info.pid, self.baseline.keeper, max(0, running - self.baseline.workers), running > 0)
        opened = sum(processes.descriptors(self.control_plane()).values())
        return found + [f"{opened} descriptors of the control plane"] * (opened > self.baseline.control_plane)
