"""When is looked at whom, and what follows: on a virtual clock, with scripted workers and a scripted kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from procq.endings import Doom
from procq.events import Condemned, Reported
from procq.meter import NO_LIMIT, Used
from procq.model import Limits, Queue, Share, UpdatePolicy
from procq.monitor.sampler import Sampler
from procq.state import Jobs, Report, Running
from procq.testing.rig import Rig
from procq.testing.script import Script, everyone
from tests.queues import EMAILS_1, EMAILS_2, manifest, queue
from tests.unit.monitor.virtual import Heard, nothing, play

MIB = 1 << 20


class Kernel:
    """What is used by the worker of each pid, and when somebody looked at whom."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.memory: dict[int, int] = {}
        self.looks: list[tuple[float, list[tuple[int, int]]]] = []

    def read(self, roots: Sequence[tuple[int, int]]) -> list[Used]:
        self.looks.append((self._rig.clock.now, list(roots)))
        return [(0.0, self.memory.get(pid, MIB), 1, 1) for pid, _ in roots]


def limited(limits: Limits, name: str = "emails", workers: int = 1) -> Queue:
    return replace(queue(name, workers), limits=limits)


def rig_of(*queues: Queue) -> Rig:
    # Whoever is asked to leave takes its time: what is found out once must not be told again.
    rig = Rig(manifest(*queues), everyone(Script(leave_after=1e6)))
    rig.advance(1.0)
    return rig


def pid_of(rig: Rig, slot: int = 1) -> int:
    state = rig.engine.snapshot().observed.queues["emails"].workers[slot]
    assert isinstance(state, Running)
    return state.pid


def test_nobody_looks_where_nothing_is_limited() -> None:
    rig = rig_of(queue(workers=3), limited(Limits(age=3600.0), "old"))
    kernel = Kernel(rig)
    play(rig, Sampler(rig.engine, kernel.read).run(), (100.0, nothing))
    assert kernel.looks == []


def test_one_look_every_five_seconds_is_at_everybody() -> None:
    rig = rig_of(limited(Limits(memory=300 * MIB), workers=2), queue("reports"))
    kernel = Kernel(rig)
    play(rig, Sampler(rig.engine, kernel.read).run(), (21.0, nothing))
    assert len(kernel.looks) == 5
    assert [limit for _, limit in kernel.looks[0][1]] == [300 * MIB, 300 * MIB, NO_LIMIT]


def test_who_is_over_its_memory_in_two_looks_is_told_of_once() -> None:
    rig = rig_of(limited(Limits(memory=300 * MIB), workers=2))
    kernel, heard = Kernel(rig), Heard(rig)
    kernel.memory[pid_of(rig, 2)] = 301 * MIB
    play(rig, Sampler(rig.engine, kernel.read).run(), (60.0, nothing))
    (found,) = heard.of(Condemned)
    assert (found.worker, found.generation, found.why) == (EMAILS_2, 2, Doom.MEMORY)
    assert found.detail == "301.0MiB of memory, 300MiB allowed"
    assert found.at == kernel.looks[1][0]


def test_memory_comes_on_top_of_what_can_wait() -> None:
    """The second worker waits for its turn, and grows meanwhile."""
    wanted = replace(limited(Limits(memory=300 * MIB), workers=2), update=UpdatePolicy(batch=Share(1)))
    rig = rig_of(wanted)
    kernel, heard = Kernel(rig), Heard(rig)
    for worker, generation in ((EMAILS_1, 1), (EMAILS_2, 2)):
        rig.engine.handle([Condemned(worker, generation, Doom.PIDS, "many", rig.clock.now)])
        rig.settle()
    kernel.memory[pid_of(rig, 2)] = 301 * MIB
    play(rig, Sampler(rig.engine, kernel.read).run(), (12.0, nothing))
    whys = [(found.worker, found.why) for found in heard.of(Condemned)]
    assert whys == [(EMAILS_1, Doom.PIDS), (EMAILS_2, Doom.PIDS), (EMAILS_2, Doom.MEMORY)]


def test_limits_are_taken_up_without_touching_workers() -> None:
    rig = rig_of(queue())
    kernel, heard = Kernel(rig), Heard(rig)
    kernel.memory[pid_of(rig)] = 50 * MIB
    play(
        rig,
        Sampler(rig.engine, kernel.read).run(),
        (30.0, lambda: rig.adopt(manifest(limited(Limits(memory=60 * MIB))))),
        (30.0, lambda: rig.adopt(manifest(limited(Limits(memory=40 * MIB))))),
        (12.0, nothing),
    )
    (found,) = heard.of(Condemned)
    assert found.generation == 1
    assert found.detail == "50.0MiB of memory, 40MiB allowed"


def test_jobs_are_counted_where_they_are_reported() -> None:
    rig = rig_of(limited(Limits(jobs=100), workers=2))
    kernel, heard = Kernel(rig), Heard(rig)

    def report(jobs: int) -> None:
        rig.engine.handle([Reported(EMAILS_1, Report(1, work=Jobs(jobs)))])

    play(
        rig,
        Sampler(rig.engine, kernel.read).run(),
        (1.0, lambda: report(99)),
        (1.0, lambda: report(100)),
        (1.0, lambda: report(101)),
        (1.0, nothing),
    )
    (found,) = heard.of(Condemned)
    assert (found.worker, found.why, found.detail) == (EMAILS_1, Doom.JOBS, "100 jobs done, 100 allowed")
    assert kernel.looks == [], "nothing has to be measured for that"


def test_a_job_is_late_when_its_time_is_over_and_not_at_the_next_look() -> None:
    rig = rig_of(limited(Limits(job_timeout=90.0)))
    heard = Heard(rig)
    since = rig.clock.now
    rig.engine.handle([Reported(EMAILS_1, Report(1, work=Jobs(0), busy=1, job="7 invoice", since=since))])
    play(rig, Sampler(rig.engine, Kernel(rig).read).run(), (100.0, nothing))
    (found,) = heard.of(Condemned)
    assert found.why is Doom.JOB_TIMEOUT
    assert abs(found.at - (since + 90.0)) < 0.001
    assert found.detail == "job 7 invoice has taken more than 90s"


def test_a_job_that_ends_in_time_is_forgotten() -> None:
    rig = rig_of(limited(Limits(job_timeout=90.0)))
    heard = Heard(rig)
    since = rig.clock.now

    def report(job: str, since: float | None) -> None:
        rig.engine.handle([Reported(EMAILS_1, Report(1, busy=1 if job else 0, job=job, since=since))])

    play(
        rig,
        Sampler(rig.engine, Kernel(rig).read).run(),
        (1.0, lambda: report("1 a", since)),
        (80.0, lambda: report("2 b", since + 80.0)),
        (80.0, lambda: report("", None)),
        (200.0, nothing),
    )
    assert heard.of(Condemned) == []


def test_what_an_earlier_generation_said_condemns_nobody() -> None:
    rig = rig_of(limited(Limits(jobs=10)))
    heard = Heard(rig)
    slots = rig.engine._slots("emails")
    slots.reports[1] = Report(0, work=Jobs(50))
    play(rig, Sampler(rig.engine, Kernel(rig).read).run(), (10.0, nothing))
    assert heard.of(Condemned) == []
