"""Other process managers with the same program in the same run, where `benches/peers.sh` has installed them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benches.kit import Row, Spread, mib, ms, rate
from benches.processes import descendants, pss, running
from benches.programs import PATIENCE, Ear, Stuck, Watched, compile_worker
from benches.stack import PROCQ, queue

_CRASHES = 10
_STOPS = 100
_GRACE = 2.0
_MANY = 1000
_BYTES = 1 << 28
_GIVE_UP = 20.0
"""Seconds after the grace period when a peer counts as never stopping its workers."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a manager is to run: so many of this command, the output of each into `log` and its number, if given."""

    command: Sequence[str]
    workers: int
    log: Path | None = None


class Manager:
    """One of them. `begin` writes its configuration and gives its command line."""

    name = "procq"

    def begin(self, scratch: Path, job: Job) -> list[str]:
        """Ours."""
        keys = {"stop_grace": f"{_GRACE:g}s"} | ({"logs_file": f"{job.log}{{slot}}"} if job.log else {})
        manifest = scratch / "procq.yaml"
        manifest.write_text(queue(job.command, job.workers, **keys))
        return [str(PROCQ), "up", str(manifest)]


class Supervisor(Manager):
    """supervisord in the foreground, without rotation of logs."""

    name = "supervisord"

    def begin(self, scratch: Path, job: Job) -> list[str]:
        """Its INI file."""
        log = f"{job.log}%(process_num)d" if job.log else "AUTO"
        text = f"""\
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={scratch}/supervisord.pid
childlogdir={scratch}
minfds=8192
[program:w]
command={" ".join(job.command)}
process_name=%(process_num)d
numprocs={job.workers}
numprocs_start=1
autorestart=true
startsecs=0
stopwaitsecs={_GRACE:g}
stdout_logfile={log}
stdout_logfile_maxbytes=0
"""
        return _configured(scratch / "supervisord.ini", text, self.name, "-c")


class Circus(Manager):
    """circusd with its usual interval of looking."""

    name = "circusd"

    def begin(self, scratch: Path, job: Job) -> list[str]:
        """Its INI file."""
        stream = f"stdout_stream.class = FileStream\nstdout_stream.filename = {job.log}1\n" if job.log else ""
        text = f"""\
[circus]
endpoint = ipc://{scratch}/endpoint
pubsub_endpoint = ipc://{scratch}/pubsub
[watcher:w]
cmd = {job.command[0]}
args = {" ".join(job.command[1:])}
numprocesses = {job.workers}
graceful_timeout = {_GRACE:g}
warmup_delay = 0
{stream}"""
        return _configured(scratch / "circus.ini", text, self.name)


class Honcho(Manager):
    """honcho, whose output is its standard output."""

    name = "honcho"

    def begin(self, scratch: Path, job: Job) -> list[str]:
        """Its Procfile."""
        procfile = scratch / "Procfile"
        procfile.write_text(f"w: exec {' '.join(job.command)}\n")
        return [str(_folder() / self.name), "start", "-f", str(procfile), "-c", f"w={job.workers}"]


def run(scratch: Path) -> list[Row]:
    """A row for each manager and question; a line instead where nobody has installed it."""
    program = compile_worker(scratch)
    rows = []
    for manager in (Manager(), Supervisor(), Circus(), Honcho()):
        if type(manager) is not Manager and not (_folder() / manager.name).exists():
            rows.append(Row(f"{manager.name}: not installed, see benches/peers.sh", ""))
            continue
        folder = scratch / manager.name
        folder.mkdir()
        with Ear(folder / "ear") as ear:
            rows += list(_questions(manager, _Trial(manager, folder, str(program), ear)))
    return rows


def _questions(manager: Manager, trial: _Trial) -> Iterator[Row]:
    # honcho ends when one of its processes does, and circus takes a minute to start a thousand.
    if not isinstance(manager, Honcho):
        yield Row(f"{manager.name}: kill -9 → replacement executes", trial.crash())
    yield Row(f"{manager.name}: {_STOPS} that ignore TERM, after a grace of {_GRACE:g} s", trial.stop())
    if not isinstance(manager, Circus):
        yield Row(f"{manager.name}: PSS at {_MANY} workers, ten lines each", trial.memory())
    yield Row(f"{manager.name}: one writer of 80-byte lines", trial.output())


class _Trial:
    """One manager with its scratch folder."""

    def __init__(self, manager: Manager, scratch: Path, program: str, ear: Ear) -> None:
        self._manager, self._scratch, self._program, self._ear = manager, scratch, program, ear

    def crash(self) -> str:
        """From the signal to the next worker."""
        with self._running("idle", workers=_CRASHES):
            pids = [word.pid for word in self._ear.hear("s", _CRASHES)]
            time.sleep(2)
            return str(Spread([self._crash(pid) for pid in pids]))

    def _crash(self, pid: int) -> float:
        time.sleep(0.1)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return self._ear.hear("s", 1)[0].at - began

    def stop(self) -> str:
        """From TERM to the manager until its last worker has ended."""
        with self._running("stubborn", workers=_STOPS) as process:
            watched = Watched([word.pid for word in self._ear.hear("s", _STOPS)])
            time.sleep(2)
            began = time.monotonic()
            process.terminate()
            try:
                return ms(watched.ended(_GRACE + _GIVE_UP) - began - _GRACE)
            except Stuck:
                return f"not within {_GIVE_UP:g} s"
            finally:
                watched.close()

    def memory(self) -> str:
        """Everything but the workers."""
        with self._running("talk", "10", workers=_MANY) as process:
            self._ear.hear("s", _MANY)
            time.sleep(3)
            return mib(sum(pss(pid) for pid in descendants(process.pid, but=self._program)))

    def output(self) -> str:
        """Into a log file; honcho into its own output."""
        log = self._scratch / "log"
        with self._running("flood", str(_BYTES), workers=1, log=log):
            self._ear.hear("s", 1)
            time.sleep(1)
            return rate(_BYTES, Spread([self._ear.flood(1) for _ in range(3)]).median)

    @contextlib.contextmanager
    def _running(
        self, mode: str, *arguments: str, workers: int, log: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        job = Job([self._program, mode, str(self._ear.path), *arguments], workers, log)
        places = {"XDG_RUNTIME_DIR": str(self._scratch), "XDG_STATE_HOME": str(self._scratch)}
        with (self._scratch / "console").open("wb") as console:
            process = subprocess.Popen(
                self._manager.begin(self._scratch, job),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **places},
                cwd=self._scratch,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Of the manager and its workers nothing stays, not even what it has lost."""
        left = descendants(process.pid)
        process.kill()
        for pid in {*left, *running(self._program)} - {process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(PATIENCE)
        self._ear.forget()


def _configured(file: Path, text: str, name: str, *options: str) -> list[str]:
    file.write_text(text)
    return [str(_folder() / name), *options, str(file)]


def _folder() -> Path:
    return Path(os.environ.get("PROCQ_PEERS", "/nonexistent")) / "bin"
