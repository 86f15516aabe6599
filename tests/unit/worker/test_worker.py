"""`procq.worker` against a socket of our own: what is said, when, and by whom."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from procq.worker import link
from procq.worker.counting import BOUNDS, Counts, Note, label_of, quantile
from procq.worker.reporter import Reporter
from tests.process.support.waiting import until


@dataclass(eq=False)
class Job:
    """One of which nobody but the test knows."""

    id: str
    name: str
    began: float


PACKAGE = Path(__file__).resolve().parents[3] / "python"


class Listener:
    """In the place of a keeper."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{name}")
        self.socket.settimeout(5)
        self.environ = {"NOTIFY_SOCKET": f"@{name}", "PROCQ_WORKER_ID": "emails.1"}
        self.sender = b""

    def hear(self) -> dict[str, str]:
        text, self.sender = self.socket.recvfrom(4096)
        return dict(line.split("=", 1) for line in text.decode().splitlines())

    def all(self) -> list[dict[str, str]]:
        """What is there at the moment."""
        self.socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.hear())
        except BlockingIOError:
            return found
        finally:
            self.socket.settimeout(5)

    def gathered(self, said: list[dict[str, str]]) -> list[dict[str, str]]:
        """The same, added to what was there before."""
        said += self.all()
        return said

    def say(self, word: str) -> None:
        self.socket.sendto(f"{word}\n".encode(), self.sender)


@pytest.fixture
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    made = Listener(f"procq-test-{os.getpid()}-{abs(hash(request.node.name))}")
    yield made
    made.socket.close()


def nothing() -> None:
    """Is done."""


def begun(reporter: Reporter, id: str) -> Job:
    reporter.begin(job := Job(id, "", time.monotonic()))
    return job


def test_a_job_is_told_of_at_its_start_and_at_its_end(listener: Listener) -> None:
    reporter = Reporter(listener.environ)
    job = begun(reporter, "7 mail")
    said = listener.hear()
    told = {name: said[f"X_PROCQ_{name}"] for name in ("JOBS", "BUSY", "JOB", "SCOPE")}
    assert told == {"JOBS": "0", "BUSY": "1", "JOB": "7 mail", "SCOPE": "process"}
    assert 0 <= int(said["X_PROCQ_JOB_USEC"]) < 5_000_000
    reporter.end(job, failed=True)
    said = listener.hear()
    numbers = {name: said[f"X_PROCQ_{name}"] for name in ("JOBS", "FAILED", "RETRIED", "BUSY", "JOB", "SCOPE")}
    assert numbers == {"JOBS": "1", "FAILED": "1", "RETRIED": "0", "BUSY": "0", "JOB": "", "SCOPE": "process"}
    assert sum(map(int, said["X_PROCQ_TOOK"].split(","))) == 1
    reporter.end(job)
    assert listener.all() == [], "it ends once"


@pytest.mark.parametrize("missing", ["NOTIFY_SOCKET", "PROCQ_WORKER_ID"])
def test_outside_procq_nothing_is_said(listener: Listener, missing: str) -> None:
    reporter = Reporter({name: value for name, value in listener.environ.items() if name != missing})
    reporter.end(begun(reporter, "1"))
    reporter.say("READY=1")
    reporter.listen(nothing, nothing, None)
    assert not reporter.heard and listener.all() == []


def test_nothing_is_kept_of_jobs_that_nobody_hears_of() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": "@procq-test-nobody", "PROCQ_WORKER_ID": "emails.1"}):
        reporter, job = Reporter(environ), Job("1", "", 0.0)
        reporter.begin(job)
        reporter.end(job)
        assert sys.getrefcount(job) == 2


@pytest.mark.parametrize("raises", [False, True])
def test_a_handler_of_a_signal_comes_in_between(
    listener: Listener, raises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a job of its own, in the midst of the count of another one; what it raises costs no count."""
    reporter, take, inner = Reporter(listener.environ), Counts.take, Job("inner", "", 0.0)

    def interrupted(counts: Counts, note: Note) -> bool:
        if not handled:
            handled.append(True)
            reporter.begin(inner)
            reporter.end(inner)
            if raises:
                raise TimeoutError
        return take(counts, note)

    handled: list[bool] = []
    monkeypatch.setattr(Counts, "take", interrupted)
    outer = Job("outer", "", 0.0)
    with contextlib.suppress(TimeoutError):
        reporter.begin(outer)
    reporter.end(outer)
    said: list[dict[str, str]] = []
    until(lambda: listener.gathered(said)[-1:] and said[-1]["X_PROCQ_JOBS"] == "2", "both of them")
    assert said[-1]["X_PROCQ_BUSY"] == "0"


def test_where_nobody_listens_nothing_happens() -> None:
    reporter = Reporter({"NOTIFY_SOCKET": "@procq-test-nobody", "PROCQ_WORKER_ID": "emails.1"})
    reporter.end(begun(reporter, "1"))
    assert not reporter.heard


def test_what_finds_no_room_is_said_as_soon_as_there_is_some(listener: Listener) -> None:
    reporter = Reporter(listener.environ)
    for number in range(2_000):
        reporter.end(begun(reporter, str(number)))
    said = listener.all()
    assert len(said) < 2_000, "no job has waited for room"
    until(lambda: listener.gathered(said)[-1].get("X_PROCQ_JOBS") == "2000", "the right total")


def test_of_jobs_that_follow_each_other_closely_a_few_words_tell_all(listener: Listener) -> None:
    reporter = Reporter(listener.environ)
    said: list[dict[str, str]] = []
    for number in range(2_000):
        job = begun(reporter, f"{number} mail")
        listener.gathered(said)
        reporter.end(job)
    begun(reporter, "last")
    until(lambda: listener.gathered(said)[-1]["X_PROCQ_JOB"] == "last", "the last job")
    assert said[-1]["X_PROCQ_JOBS"] == "2000" and len(said) < 1_000


JOBS = """
import multiprocessing, sys
from procq import worker

def work():
    for number in range(200):
        with worker.job(number):
            pass
    print("done", flush=True)

if __name__ == "__main__" and sys.argv[1:]:
    process = multiprocessing.get_context(sys.argv[1]).Process(target=work)
    process.start()
    process.join()
elif __name__ == "__main__":
    work()
"""


def dense(reporter: Reporter, listener: Listener) -> None:
    """So many jobs that what follows is told together, the last word being that one is at hand."""
    said: list[dict[str, str]] = []
    for _ in range(100):
        reporter.end(begun(reporter, "dense"))
        listener.gathered(said)
    until(lambda: listener.gathered(said)[-1]["X_PROCQ_JOBS"] == "100", "all of them")
    for _ in range(10):
        reporter.say("STATUS=busy")
    listener.all()


def test_who_was_said_to_be_idle_is_busy_at_once(listener: Listener) -> None:
    """A job may keep the thread that says things later from running at all."""
    reporter = Reporter(listener.environ)
    dense(reporter, listener)
    begun(reporter, "long")
    assert [said["X_PROCQ_JOB"] for said in listener.all()] == ["long"]


def test_a_job_that_begins_while_its_worker_is_said_to_be_idle_is_told_of(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the thread looks next, which may be too late."""
    reporter, send = Reporter(listener.environ), link.Link.send
    dense(reporter, listener)
    monkeypatch.setattr(link, "_IN_A_SERIES", 60.0)
    other = threading.Thread(target=lambda: begun(reporter, "other"))

    def meanwhile(self: link.Link, text: bytes) -> bool:
        if b"BUSY=0" in text and other.ident is None:
            other.start()
            # It comes to its end, unless it has to wait for us.
            other.join(0.2)
        return send(self, text)

    monkeypatch.setattr(link.Link, "send", meanwhile)
    reporter.end(begun(reporter, "first"))
    reporter.tell()
    said: list[dict[str, str]] = []
    until(lambda: listener.gathered(said)[-1:] and said[-1]["X_PROCQ_JOB"] == "other", "the other job")


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_a_job_does_not_fail_where_there_is_no_thread(
    listener: Listener, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: threading.Thread) -> None:
        raise kind

    monkeypatch.setattr(threading.Thread, "start", fails)
    reporter = Reporter(listener.environ)
    reporter.listen(nothing, nothing, None)
    said: list[dict[str, str]] = []
    for _ in range(100):
        reporter.end(begun(reporter, "7"))
        listener.gathered(said)
    assert said[-1]["X_PROCQ_JOBS"] == "100", "each is said at once then"
    assert not any("X_PROCQ_PARKED" in each for each in said), "nobody would hear that it is to park"


def test_what_tells_how_many_wait_may_take_a_lock_of_its_own(listener: Listener) -> None:
    reporter, lock, asked = Reporter(listener.environ), threading.RLock(), threading.Event()

    def waiting() -> int:
        asked.set()
        with lock:
            return 0

    reporter.listen(nothing, nothing, waiting)
    dense(reporter, listener)
    with lock:
        begun(reporter, "1 at hand")
        asked.clear()
        reporter.tell()
        until(asked.is_set, "the thread to ask")
        reporter.tell()
    said: list[dict[str, str]] = []
    until(lambda: listener.gathered(said)[-1:] and said[-1]["X_PROCQ_JOB"] == "1 at hand", "the job at hand")


def test_forks_of_forks_leave_no_descriptors_open(listener: Listener) -> None:
    reporter = Reporter(listener.environ)

    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))

    def generation(left: int) -> int:
        reporter.listen(nothing, nothing, None)
        return open_now() if left == 0 else in_a_child(lambda: os._exit(generation(left - 1)))

    one, four = generation(1), generation(4)
    assert one == four


@pytest.mark.parametrize("method", ["", "fork", "spawn"])
def test_the_last_word_of_a_process_is_not_lost(listener: Listener, method: str, tmp_path: Path) -> None:
    environ = {**os.environ, **listener.environ, "PYTHONPATH": str(PACKAGE)}
    (tmp_path / "jobs.py").write_text(JOBS)
    command = [sys.executable, str(tmp_path / "jobs.py"), *([method] if method else [])]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # By then the socket is full, and the process about to end.
        assert process.stdout.readline() == "done\n"
        said: list[dict[str, str]] = []
        until(lambda: (listener.gathered(said), process.poll() is not None)[1], "its end")
        said += listener.all()
    assert said[-1]["X_PROCQ_JOBS"] == "200"


def test_it_can_be_told_to_park_and_to_resume(listener: Listener) -> None:
    reporter = Reporter(listener.environ)
    heard: list[str] = []
    waiting = 3
    reporter.listen(lambda: heard.append("park"), lambda: heard.append("resume"), lambda: waiting)
    said = listener.hear()
    assert (said["X_PROCQ_PARKED"], said["X_PROCQ_BUSY"]) == ("0", "3")
    listener.say("PARK")
    until(lambda: heard == ["park"], "the word to be heard")
    reporter.parked(True)
    assert listener.hear()["X_PROCQ_PARKED"] == "1"
    reporter.parked(True)
    waiting = 0
    reporter.tell()
    assert listener.hear()["X_PROCQ_BUSY"] == "0"
    listener.say("WHAT")
    listener.say("RESUME")
    until(lambda: heard == ["park", "resume"], "the other word to be heard")


def test_who_starts_parked_says_so_first_and_its_children_do_not_once_it_goes_on(listener: Listener) -> None:
    reporter = Reporter({**listener.environ, "PROCQ_PARKED": "1"})
    resumed: list[bool] = []
    reporter.listen(lambda: reporter.parked(True), lambda: resumed.append(True), None)
    assert listener.hear()["X_PROCQ_PARKED"] == "1"
    listener.all()
    listener.say("RESUME")
    until(lambda: resumed, "the word to be heard")
    assert in_a_child(lambda: reporter.listen(lambda: reporter.parked(True), nothing, None)) == 0
    assert {said["X_PROCQ_PARKED"] for said in listener.all()} == {"0"}


def in_a_child(act: Callable[[], object]) -> int:
    """Ends as processes do that leave in the middle: nothing is said at the end."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_counts_for_itself(listener: Listener) -> None:
    reporter = Reporter(listener.environ)
    reporter.end(begun(reporter, "1"))
    open_job = begun(reporter, "2")
    listener.all()

    mine = listener.sender

    def child() -> None:
        reporter.end(open_job)
        reporter.end(begun(reporter, "3"))

    assert in_a_child(child) == 0
    said = listener.all()
    assert (
        [each["X_PROCQ_JOB"] for each in said] == ["3", ""]
        and said[-1]["X_PROCQ_JOBS"] == "1"
        and listener.sender != mine
    )
    reporter.end(open_job)
    assert listener.hear()["X_PROCQ_JOBS"] == "2"


def test_durations_are_counted_by_a_series_of_bounds() -> None:
    counts = Counts()
    for took in (0.0, 0.001, 0.0011, 0.3, 5_000.0, 10_001.0):
        counts.take((job := Job("x", "", 0.0), None, False, False))
        counts.take((job, took, False, False))
    line = next(line for line in counts.total(0, 0.0).splitlines() if line.startswith("X_PROCQ_TOOK="))
    found = [int(number) for number in line.partition("=")[2].split(",")]
    assert len(BOUNDS) + 1 == len(found) == 23
    assert {place: number for place, number in enumerate(found) if number} == {0: 2, 1: 1, 8: 1, 20: 1, 22: 1}


def test_a_quantile_is_rounded_up_to_a_bound() -> None:
    took = (0, 0, 90, 5, 5)  # up to 5 ms, 10 ms, 20 ms
    assert quantile(took, 0.5) == pytest.approx(0.005)
    assert quantile(took, 0.90) == pytest.approx(0.005)
    assert quantile(took, 0.91) == pytest.approx(0.01)
    assert quantile(took, 1.0) == pytest.approx(0.02)
    assert quantile((0,) * len(BOUNDS) + (1,), 0.95) == float("inf")
    assert quantile((), 0.95) is None
    assert quantile((0, 0), 0.95) is None


def test_a_label_is_one_line_and_not_long() -> None:
    assert label_of("7", "send\nX_PROCQ_JOBS=9 mail") == "7 send X_PROCQ_JOBS=9 mail"
    assert len(label_of("x" * 1_000, "")) == 200 and label_of("7", "") == "7"


def test_nothing_but_the_standard_library_is_imported() -> None:
    code = "import sys; import procq.worker; print([name for name in sys.modules if name.startswith('procq')])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_core" not in done.stdout and len(done.stdout.split(",")) == 6, done.stdout


def test_threads_that_have_something_to_say_at_once_share_one_that_says_it(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, make = Reporter(listener.environ), os.pipe2
    other = threading.Thread(target=reporter.tell)

    def meanwhile(flags: int) -> tuple[int, int]:
        if other.ident is None:
            other.start()
            # It comes to its end, unless it has to wait for us.
            other.join(0.2)
        return make(flags)

    def speakers() -> int:
        return sum(thread.name == "procq-worker" for thread in threading.enumerate())

    before = speakers()
    monkeypatch.setattr(os, "pipe2", meanwhile)
    for _ in range(8):
        reporter.say("STATUS=busy")
        listener.hear()
    reporter.tell()
    other.join()
    assert speakers() - before == 1
