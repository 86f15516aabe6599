"""From numbers to limits that were reached."""

from __future__ import annotations

import pytest

from procq.endings import Doom
from procq.meter import Used
from procq.model import Limits
from procq.monitor.judge import Judge, Verdict, judge_report, late_at
from procq.state import Jobs, Report

MIB = 1 << 20


def used(seconds: float = 0.0, memory: int = 0, processes: int = 1, threads: int = 1) -> Used:
    return seconds, memory, processes, threads


def test_memory_takes_two_looks_in_a_row() -> None:
    judge, limits = Judge(), Limits(memory=300 * MIB)
    looks = [301, 299, 301, 312]
    found = [judge.look(used(memory=each * MIB), limits, 5.0 * n) for n, each in enumerate(looks)]
    assert found == [None, None, None, Verdict(Doom.MEMORY, "312.0MiB of memory, 300MiB allowed")]


def test_as_much_as_allowed_is_allowed() -> None:
    judge, limits = Judge(), Limits(memory=300 * MIB, pids=5)
    assert [judge.look(used(memory=300 * MIB, threads=5), limits, 5.0 * n) for n in range(5)] == [None] * 5


def test_processes_and_threads_take_two_looks_in_a_row() -> None:
    judge, limits = Judge(), Limits(pids=4)
    found = [judge.look(used(processes=2, threads=n), limits, 5.0 * n) for n in (5, 4, 5, 6)]
    assert found == [None, None, None, Verdict(Doom.PIDS, "6 processes and threads, 4 allowed")]


def test_processor_time_is_a_mean_over_a_whole_minute() -> None:
    judge, limits = Judge(), Limits(cpu=1.5)
    busy = [judge.look(used(seconds=1.6 * now), limits, float(now)) for now in range(0, 65, 5)]
    assert busy[:-1] == [None] * 12
    assert busy[-1] == Verdict(Doom.CPU, "160% of a processor over 1m, 150% allowed")


def test_a_burst_of_processor_time_is_no_limit_reached() -> None:
    judge, limits, seconds = Judge(), Limits(cpu=1.0), 0.0
    for now in range(0, 600, 5):
        seconds += 5 * (4.0 if now % 60 < 10 else 0.2)
        assert judge.look(used(seconds=seconds), limits, float(now)) is None, now


def test_faults_17_processes_that_take_their_time_along_make_no_rate_negative_or_high() -> None:
    judge, limits = Judge(), Limits(cpu=0.5)
    for now in range(0, 300, 5):
        # A child with much processor time comes into sight and ends unreaped, again and again.
        assert judge.look(used(seconds=0.1 * now + (2.0 if now % 10 else 0.0)), limits, float(now)) is None, now


def test_who_is_gone_is_not_judged() -> None:
    judge = Judge(looks=1, window=0.0)
    assert judge.look((0.0, 10**12, 0, 0), Limits(1, 0.01, 1), 1000.0) is None


def test_limits_that_are_raised_meanwhile_hold_from_the_next_look_on() -> None:
    judge = Judge()
    assert judge.look(used(memory=11 * MIB), Limits(memory=10 * MIB), 0.0) is None
    assert judge.look(used(memory=11 * MIB), Limits(memory=12 * MIB), 5.0) is None
    assert judge.look(used(memory=11 * MIB), Limits(memory=10 * MIB), 10.0) is None


@pytest.mark.parametrize(("jobs", "verdict"), [(None, False), (999, False), (1000, True), (1001, True)])
def test_jobs(jobs: int | None, verdict: bool) -> None:
    found = judge_report(Report(1, work=Jobs(jobs)), Limits(jobs=1000), 0.0)
    assert (found is not None) == verdict
    if found is not None:
        assert found == Verdict(Doom.JOBS, f"{jobs} jobs done, 1000 allowed")


def test_a_job_that_takes_too_long_is_named() -> None:
    report, limits = Report(1, job="7f3a invoice", since=100.0), Limits(job_timeout=300.0)
    assert late_at(report, limits) == 400.0
    assert judge_report(report, limits, 399.9) is None
    assert judge_report(report, limits, 400.0) == Verdict(Doom.JOB_TIMEOUT, "job 7f3a invoice has taken more than 5m")
    assert late_at(Report(1), limits) is late_at(report, Limits()) is None


def test_a_job_that_takes_too_long_is_a_fault_also_once_there_were_enough_jobs() -> None:
    report, limits = Report(1, work=Jobs(1000), job="7f3a invoice", since=100.0), Limits(jobs=1000, job_timeout=300.0)
    found = [judge_report(report, limits, now) for now in (399.9, 400.0)]
    assert [None if verdict is None else verdict.why for verdict in found] == [Doom.JOBS, Doom.JOB_TIMEOUT]
