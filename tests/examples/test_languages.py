"""Workers of other languages do their jobs once, are counted, and leave between two jobs; who else speaks is ignored.

A long job is one whose file is a pipe: it is in hand for as long as the test holds the pipe open.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from procq import wire
from tests.examples.running import PATIENCE, PREFIXED, Running, run_example
from tests.process.support.waiting import throughout, until

pytestmark = [pytest.mark.examples, pytest.mark.process, pytest.mark.timeout(600)]

LANGUAGES = {
    "php": ("php", "php-cli"),
    "node": ("node", "nodejs"),
    "ruby": ("ruby", "ruby"),
    "go": ("go", "golang-go"),
    "shell": ("systemd-notify", "systemd"),
    "shell-alone": ("bash", "bash"),
}
"""What each needs, and the package on Debian and Ubuntu that has it. The last one is `shell` without systemd-notify."""
TOOLS = ("bash", "mv", "rm", "sleep")
JOBS, FAILING, TAKES = 60, 20, 0.3


def needs(program: str, package: str) -> str:
    """Its path. Where it is missing the test is skipped on a person's machine, and fails in CI."""
    found = shutil.which(program)
    if found is not None:
        return found
    missing = f"{program} is not installed: apt-get install {package} (its name on Debian and Ubuntu)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def done(lines: list[str]) -> Counter[str]:
    """How often each job was done, as the workers have written."""
    texts = (found["text"] for line in lines if (found := PREFIXED.match(line)))
    return Counter(text.removesuffix(" done") for text in texts if text.endswith(" done"))


def status(demo: Running, *which: str) -> wire.StatusView:
    return wire.from_json(wire.StatusView, demo.command("status", "--json", *which))


def facts(worker: wire.WorkerView) -> tuple[object, ...]:
    return (worker.ready, worker.says, worker.jobs, worker.jobs_failed, worker.busy, worker.paused)


@dataclass(frozen=True)
class Crew:
    """The running example, of which one language is looked at."""

    demo: Running
    name: str

    def send(self, jobs: Mapping[str, str]) -> None:
        """Puts jobs, by their name, into the spool as the README says."""
        for name, text in jobs.items():
            path = self.demo.folder / "spool" / f"{name}.tmp"
            path.write_text(text)
            path.rename(path.with_suffix(".job"))

    @contextmanager
    def long_job(self, name: str) -> Iterator[wire.WorkerView]:
        """A job that takes as long as the block; yields the worker that has it in hand."""
        path = self.demo.folder / "spool" / f"{name}.tmp"
        os.mkfifo(path)
        with open(os.open(path, os.O_RDWR), "wb", buffering=0) as pipe:
            path.rename(path.with_suffix(".job"))
            until(lambda: self.at_work(name), f"a worker at {name}", PATIENCE)
            yield self.at_work(name)[0]
            pipe.write(b"0\n")

    def scale(self, workers: int) -> None:
        self.demo.command("scale", f"{self.name}={workers}")

    def queue(self) -> wire.QueueView:
        return next(each for each in status(self.demo).queues if each.name == self.name)

    def workers(self) -> list[wire.WorkerView]:
        return list(status(self.demo, self.name).workers)

    def is_now(self, worker: wire.WorkerView, state: str, detail: str) -> bool:
        now = next(each for each in self.workers() if each.id == worker.id)
        return now.state == state and (now.detail or "").startswith(detail)

    def at_work(self, job: str) -> list[wire.WorkerView]:
        return [each for each in self.workers() if (each.busy, each.job) == (1, job)]

    def ready(self, workers: int) -> bool:
        """Whether so many are ready, and there are no others."""
        states = [(each.state, each.ready) for each in self.workers() if each.state != "stopped"]
        return states == [("running", True)] * workers

    def wait(self, workers: int) -> None:
        until(lambda: self.ready(workers), lambda: f"{workers} workers: {self.workers()}", PATIENCE)

    def left(self, suffix: str) -> set[str]:
        """Names of the jobs in the spool whose files end so."""
        return {path.stem for path in (self.demo.folder / "spool").glob(f"*.{suffix}")}

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = self.demo.command("events", "--json").splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Makes the program in a folder: from nothing but what is there, and leaving nothing elsewhere."""
    cache = tmp_path_factory.mktemp("go")
    settings = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}

    def build(folder: Path) -> None:
        environment = {**os.environ, **settings, "GOCACHE": str(cache / "cache"), "GOPATH": str(cache / "path")}
        done = subprocess.run(["go", "build"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return build


@pytest.fixture(params=LANGUAGES)
def crew(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, go: Callable[[Path], None]
) -> Iterator[Crew]:
    language = request.param
    needs(*LANGUAGES[language])
    scratch = tmp_path_factory.mktemp("l")
    path = os.environ["PATH"]
    if language == "shell-alone":
        (scratch / "bin").mkdir()
        for tool in TOOLS:
            (scratch / "bin" / tool).symlink_to(needs(tool, tool))
        path = str(scratch / "bin")
    with run_example("languages", scratch, PATH=path) as demo:
        if language == "go":
            go(demo.folder / "go")
        (demo.folder / "spool").mkdir()
        demo.wait_for("the last queue", lambda lines: any(line.endswith("worker.sh") for line in lines))
        yield Crew(demo, language.removesuffix("-alone"))


def test_jobs_are_done_once_and_counted(crew: Crew) -> None:
    jobs = {str(n): "never" if n % FAILING == 0 else str(TAKES) for n in range(1, JOBS + 1)}
    failing = {name for name, text in jobs.items() if text == "never"}
    names = list(jobs)
    crew.send({name: jobs[name] for name in names[:40]})
    crew.scale(3)
    crew.wait(3)
    crew.scale(1)
    assert crew.left("job"), "too late: it was to be scaled down in the middle"
    crew.wait(1)
    crew.send({name: jobs[name] for name in names[40:]})
    crew.scale(3)
    crew.wait(3)
    until(lambda: crew.queue().jobs == JOBS, lambda: f"all jobs: {crew.queue()}", PATIENCE)
    said = crew.queue()
    assert (said.jobs, said.jobs_failed, said.busy) == (JOBS, len(failing), 0)
    assert said.job_seconds is not None and said.job_seconds >= (JOBS - len(failing)) * TAKES
    assert sum(said.job_durations) == (JOBS if crew.name in ("node", "ruby") else 0)
    assert (crew.left("job"), crew.left("taken"), crew.left("failed")) == (set(), set(), failing)
    assert [event for event in crew.events("left") if not event["text"].startswith("exit code 0 ")] == []
    assert crew.demo.interrupt() == 0
    crew.demo.wait_for("each job, once", lambda lines: done(lines) == Counter(set(jobs) - failing))


def test_idle_workers_leave_at_once_and_busy_ones_after_their_job(crew: Crew) -> None:
    crew.scale(3)
    crew.wait(3)
    with crew.long_job("first") as busy:
        crew.scale(1)
        crew.wait(1)
        assert [each.pid for each in crew.at_work("first")] == [busy.pid]
        assert len(crew.events("left")) == 2
        crew.demo.command("stop", "--no-wait", crew.name)
        until(lambda: crew.is_now(busy, "stopping", ""), "a worker that got its stop signal", PATIENCE)
        throughout(1.0, lambda: psutil.pid_exists(busy.pid or 0), "a worker that has a job in hand")
    crew.wait(0)
    crew.demo.command("start", crew.name)
    crew.wait(1)
    with crew.long_job("second") as busy:
        assert busy.job_for is not None
        crew.scale(0)
        until(lambda: crew.is_now(busy, "running", "finishing second"), "a worker that is waited for", PATIENCE)
    crew.wait(0)
    assert crew.queue().jobs == 2
    crew.demo.wait_for("both jobs, once", lambda lines: done(lines) == Counter(["first", "second"]))
    assert [event for event in crew.events("left") if not event["text"].startswith("exit code 0 ")] == []


@contextmanager
def told(scratch: Path, queues: Mapping[str, str]) -> Iterator[tuple[Running, Callable[[], list[wire.WorkerView]]]]:
    """Runs shell commands as queues that say when they are ready, and looks at their workers."""
    manifest = scratch / "told.yaml"
    commands = "".join(f"  {name}: {json.dumps(command)}\n" for name, command in queues.items())
    manifest.write_text(f"defaults:\n  ready: notify\n  shell: yes\nqueues:\n{commands}")
    with run_example("languages", scratch, str(manifest)) as demo:
        demo.wait_for("all queues", lambda lines: len(lines) > len(queues))
        yield demo, lambda: list(status(demo, "-f", str(manifest), "*").workers)


FORMS = ("", "--no-block", "--pid", "--pid=auto", "--pid=self", "--pid=parent", "--pid=$$")


def test_what_systemd_notify_sends_is_understood(tmp_path_factory: pytest.TempPathFactory) -> None:
    notify = needs("systemd-notify", "systemd")
    says = "--ready --status='all is well' X_PROCQ_JOBS=7 X_PROCQ_FAILED=2 X_PROCQ_PARKED=0 && exec sleep 1000"
    queues = {f"form{number}": f"{notify} {form} {says}" for number, form in enumerate(FORMS)}
    with told(tmp_path_factory.mktemp("n"), queues) as (_, workers):
        expected = [(True, "all is well", 7, 2, None, False)] * len(FORMS)
        until(lambda: [*map(facts, workers())] == expected, lambda: str([*map(facts, workers())]), PATIENCE)


def test_what_others_say_changes_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """They find the name of the socket in the environment of the worker, which is heard after them."""
    command = "until [ -e spoken ]; do sleep 0.1; done; echo READY=1 >&$PROCQ_NOTIFY_FD; exec sleep 1000"
    forged = ["READY=1", "STATUS=forged", "X_PROCQ_JOBS=99", "X_PROCQ_FAILED=9", "X_PROCQ_BUSY=1", "X_PROCQ_PARKED=1"]
    scratch = tmp_path_factory.mktemp("s")
    with told(scratch, {"silent": command}) as (demo, workers):
        until(lambda: workers()[0].pid, "the worker", PATIENCE)
        before = workers()[0]
        address = psutil.Process(before.pid).environ()["NOTIFY_SOCKET"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto("\n".join(forged).encode(), address.replace("@", "\0", 1))
        if notify := shutil.which("systemd-notify"):
            subprocess.run([notify, *forged], env={"NOTIFY_SOCKET": address}, timeout=PATIENCE, check=True)
        demo.wait_for("a word about it", lambda lines: any("is none of its own" in line for line in lines))
        assert facts(workers()[0]) == facts(before) == (False, None, None, None, None, None)
        (scratch / "spoken").touch()
        until(lambda: workers()[0].ready, "the word of the worker itself", PATIENCE)
        assert facts(workers()[0]) == (True, None, None, None, None, None)
