"""The trial that each adapter stands: a thousand jobs, while workers are scaled and rolled out under them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from procq import wire
from tests.adapters.apps import ledger
from tests.process.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
LIBRARIES = ROOT / ".venv-libraries" / "bin"
"""Where the workers' libraries are: apart from procq's own, as at most users."""
JOBS = 1_000
PATIENCE = 90.0  # seconds; only ever spent by a test that fails


@dataclass(frozen=True)
class Crew:
    """Workers of one queue, `work`, run by a procq of their own. `folder` holds manifest, apps and ledger."""

    folder: Path
    command: str
    environment: dict[str, str]
    more: str = ""
    run: str = ""
    """Where its sockets are: names of sockets must not be long."""
    libraries: Path = LIBRARIES

    def write(self, workers: int | str, generation: int) -> None:
        """The manifest; another `generation` is another environment, which rolls out."""
        variables = "\n".join(f'      {name}: "{value}"' for name, value in self.environment.items())
        (self.folder / "procq.yaml").write_text(f"""\
queues:
  work:
    command: "{self.command}"
    workers: {workers}
    ready: notify
    env:
      PATH: "{self.libraries}:{os.environ["PATH"]}"
      PYTHONPATH: "{self._path()}"
      GENERATION: "{generation}"
{variables}
{self.more}""")

    def procq(self, *words: str) -> str:
        """What a command says; fails where it does."""
        environment = {**os.environ, "XDG_RUNTIME_DIR": self.run, "XDG_STATE_HOME": str(self.folder)}
        done = subprocess.run(
            [BIN / "procq", *words],
            cwd=self.folder,
            env={**environment, "PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.output()}"
        return done.stdout

    def python(self, code: str, *words: str) -> str:
        """Runs a producer, as a program of its own, and returns what it prints."""
        done = subprocess.run(
            [self.libraries / "python", "-c", code, *words],
            cwd=self.folder,
            env={**os.environ, **self.environment, "PYTHONPATH": self._path()},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _path(self) -> str:
        return f"{self.folder}:{ROOT / 'python'}"

    def status(self) -> wire.StatusView:
        """What procq says."""
        return wire.from_json(wire.StatusView, self.procq("status", "--json", "*"))

    def queue(self) -> wire.QueueView:
        """What it says of the queue."""
        return self.status().queues[0]

    def running(self, workers: int) -> bool:
        """Whether so many workers run, and nothing else does."""
        states = Counter(each.state for each in self.status().workers)
        return states == ({"running": workers} if workers else {})

    def entries(self, word: str) -> Counter[int]:
        """How often each job has this word in the ledger."""
        lines = (line.split() for line in self._lines())
        return Counter(int(line[1]) for line in lines if line[0] == word)

    def generations(self) -> set[str]:
        """The generations that have begun jobs."""
        return {line.split()[3] for line in self._lines() if line.startswith("began")}

    def rolled_out(self, generation: str) -> bool:
        """Whether workers of this one, and nobody else, take jobs."""
        return self.running(4) and self.queue().state == "steady" and generation in self.generations()

    def finished(self) -> int:
        """How many jobs are over, whichever way."""
        return len(self.entries("done") | self.entries("failed"))

    def _lines(self) -> list[str]:
        path = self.folder / "ledger.txt"
        return path.read_text().splitlines() if path.exists() else []

    def output(self) -> str:
        """What everybody has written, to be read where a trial fails."""
        return "\n".join(path.read_text()[-8_000:] for path in self.folder.glob("procq/*/procq.log"))

    def ends(self) -> list[str]:
        """How workers have ended, as the events tell."""
        return [line for line in self.procq("events").splitlines() if " after " in line or "SIGKILL" in line]


@contextmanager
def crew(
    scratch: Path, command: str, environment: dict[str, str], more: str = "", libraries: Path = LIBRARIES
) -> Iterator[Crew]:
    """A folder with all apps in it; procq is ended at the end, whatever has happened."""
    folder = scratch / "crew"
    shutil.copytree(APPS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    folder.chmod(0o700)
    run = tempfile.mkdtemp(prefix="procq-")
    made = Crew(folder, command, environment, more, run, libraries)
    try:
        yield made
    finally:
        subprocess.run(
            [BIN / "procq", "down", "--now"],
            cwd=folder,
            env={**os.environ, "XDG_RUNTIME_DIR": run, "XDG_STATE_HOME": str(folder)},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        shutil.rmtree(run, ignore_errors=True)


def wait(for_what: str, holds: Callable[[], object], crew: Crew) -> None:
    """Until it holds; fails with what everybody has said."""
    try:
        until(holds, for_what, PATIENCE)
    except AssertionError as error:
        said = json.dumps([each.detail for each in crew.status().workers])
        raise AssertionError(f"{error}\n{crew.finished()} jobs over; {said}\n{crew.output()}") from error


def stand(crew: Crew, send: Callable[[int, int], object]) -> None:
    """Four workers do a thousand jobs while they become one, four again, and other ones.

    `send(first, last)` sends jobs by number, the last one included.
    """
    send(1, JOBS // 2)
    crew.write(4, 1)
    crew.procq("up", "-d", "--wait")
    wait("the first jobs", lambda: crew.finished() >= 50, crew)
    crew.procq("scale", "work=1")
    wait("one worker", lambda: crew.running(1), crew)
    crew.procq("scale", "work=4")
    wait("four workers", lambda: crew.running(4), crew)
    send(JOBS // 2 + 1, JOBS)
    crew.write(4, 2)
    wait("other workers", lambda: crew.rolled_out("2"), crew)
    wait("the last job", lambda: crew.finished() == JOBS, crew)
    wait("idle workers", lambda: crew.queue().busy == 0, crew)
    # What is told later is a moment late. Whether it is too much is seen below.
    wait("the account of all", lambda: (crew.queue().jobs or 0) >= JOBS + len(_again()), crew)
    check(crew)


def _again() -> list[int]:
    return [job for job in range(1, JOBS + 1) if ledger.retries(job) and not ledger.fails(job)]


def check(crew: Crew) -> None:
    """Each job was done exactly once, none was interrupted, and procq has counted what the jobs have written."""
    jobs = range(1, JOBS + 1)
    failed = [job for job in jobs if ledger.fails(job)]
    again = _again()
    assert crew.entries("done") == Counter(set(jobs) - set(failed))
    assert crew.entries("failed") == Counter(failed)
    assert crew.entries("again") == Counter(again)
    assert crew.entries("began") == Counter(jobs) + Counter(again), "an attempt that has begun has not ended"
    assert not [line for line in crew.ends() if "SIGKILL" in line or "SIGTERM" in line], crew.ends()
    said = crew.queue()
    assert (said.jobs, said.jobs_failed, said.jobs_retried) == (JOBS + len(again), len(failed), len(again))
    assert sum(said.job_durations) == JOBS + len(again)
