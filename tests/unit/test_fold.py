"""The life of a slot, event by event, and what may not move it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procq.endings import HEALTHY_AFTER, Doom, Doomed, End, ExitStatus, Refusal, SpawnFailure
from procq.events import (
    BecameReady,
    Condemned,
    ConfigureRequested,
    Delayed,
    Event,
    Executing,
    Exited,
    Forgotten,
    Gone,
    LogProblem,
    Refused,
    Reported,
    Retired,
    ShuttingDown,
    Snapshot,
    SpawnFailed,
    SpawnRequested,
    StopRequested,
    StopSignalled,
    Stuck,
)
from procq.fold import count, fold
from procq.model import MOST_FAILURES, LogPolicy, Notify, Readiness, StopPolicy
from procq.state import (
    CALM,
    Backoff,
    Draining,
    Ended,
    Finished,
    Jobs,
    LogFailure,
    Observed,
    Report,
    Resting,
    Running,
    Settings,
    Starting,
    Stopping,
    Streak,
    WorkerState,
)
from tests.queues import EMAILS_1, EMAILS_2

SETTINGS = Settings(StopPolicy(), LogPolicy())
FAILURE = SpawnFailure("exec", 2, "work", transient=False)
SPAWN = SpawnRequested(EMAILS_1, 7, "f", SETTINGS, 10.0, "wanted")
EXEC = Executing(EMAILS_1, 7, 4711, 11.0)
ASK = StopRequested(EMAILS_1, 7, 22.0, 12.0, "surplus")
EXIT = Exited(EMAILS_1, 7, ExitStatus(1), 13.0)
GONE = Gone(EMAILS_1, 7, 0, 14.0)


def after(*events: Event) -> Observed:
    observed = Observed()
    for event in events:
        observed = fold(observed, event)
    return observed


def state(*events: Event) -> WorkerState | None:
    queue = after(*events).queues.get("emails")
    return None if queue is None else queue.workers.get(1)


def test_the_whole_life() -> None:
    assert state(SPAWN) == Starting(7, "f", 10.0, SETTINGS)
    assert state(SPAWN, EXEC) == Running(7, "f", 4711, 11.0, SETTINGS, ready=11.0)
    assert state(SPAWN, EXEC, EXIT) == Draining(7, "f", End(ExitStatus(1), 11.0, 13.0, ready=11.0))
    assert state(SPAWN, EXEC, EXIT, GONE) == Ended(7, "f", End(ExitStatus(1), 11.0, 13.0, ready=11.0))


LATER = replace(SPAWN, settings=replace(SETTINGS, ready=Readiness(Notify())))


def test_ready_once() -> None:
    assert state(LATER, EXEC) == Running(7, "f", 4711, 11.0, LATER.settings)
    ready = state(LATER, EXEC, BecameReady(EMAILS_1, 7, 12.0), BecameReady(EMAILS_1, 7, 13.0))
    assert ready == Running(7, "f", 4711, 11.0, LATER.settings, ready=12.0)
    assert state(SPAWN, BecameReady(EMAILS_1, 7, 12.0)) == state(SPAWN), "it does not even execute"
    # What a snapshot does not say is still known.
    snapshot = Snapshot(((EMAILS_1, Running(7, "f", 4711, 11.0, None)),), 14.0, 7)
    assert state(LATER, EXEC, BecameReady(EMAILS_1, 7, 12.0), snapshot) == ready


def test_the_first_doom_stays_unless_a_fault_comes_on_top_of_a_limit() -> None:
    old, ill = Condemned(EMAILS_1, 7, Doom.AGE, "6h", 12.0), Condemned(EMAILS_1, 7, Doom.UNHEALTHY, "3 times", 13.0)

    def doomed(*events: Condemned) -> Doomed | None:
        found = state(SPAWN, EXEC, *events)
        assert isinstance(found, Running)
        return found.doomed

    assert doomed(old) == Doomed(Doom.AGE, "6h", 12.0)
    assert doomed(old, ill) == doomed(ill) == doomed(ill, old) == Doomed(Doom.UNHEALTHY, "3 times", 13.0)


def test_who_is_stopped_for_a_fault_has_failed() -> None:
    observed = after(SPAWN, EXEC, replace(ASK, fault="unhealthy"), EXIT, GONE)
    ended = observed.queues["emails"].workers[1]
    assert isinstance(ended, Ended) and ended.end.failure and ended.end.fault == "unhealthy"
    assert observed.queues["emails"].streaks[1].crashes == 1


def test_faults_52_what_cannot_be_killed_is_told() -> None:
    stuck = Stuck(EMAILS_1, 7, "pid 9 (dd) D", 30.0)
    for life in ((SPAWN, EXEC, ASK), (SPAWN, EXEC, EXIT), (SPAWN, EXEC, ASK, EXIT)):
        found = state(*life, stuck)
        assert isinstance(found, Stopping | Draining) and found.stuck == "pid 9 (dd) D"
    assert isinstance(state(SPAWN, EXEC, EXIT, stuck, GONE), Ended)
    assert state(SPAWN, EXEC, ASK, stuck, EXIT) == state(SPAWN, EXEC, ASK, EXIT, stuck)


def test_what_a_worker_says_is_remembered_while_it_lives() -> None:
    said = Reported(EMAILS_1, Report(7, "at work", Jobs(3)))
    assert after(SPAWN, EXEC, said).queues["emails"].reports[1].work.jobs == 3
    assert not after(SPAWN, EXEC, Reported(EMAILS_1, Report(6, work=Jobs(9)))).queues["emails"].reports
    again = SpawnRequested(EMAILS_1, 8, "f", SETTINGS, 15.0, "")
    assert not after(SPAWN, EXEC, said, EXIT, GONE, again).queues["emails"].reports


def test_a_failed_spawn_holds_its_slot_until_the_child_is_reaped() -> None:
    end = End(FAILURE, 10.0, 12.5)
    assert state(SPAWN, SpawnFailed(EMAILS_1, 7, FAILURE, 12.5)) == Draining(7, "f", end)
    assert state(SPAWN, SpawnFailed(EMAILS_1, 7, FAILURE, 12.5), GONE) == Ended(7, "f", end)


def test_what_becomes_of_an_end() -> None:
    end = End(ExitStatus(1), 11.0, 13.0, ready=11.0)
    life = (SPAWN, EXEC, EXIT, GONE)
    assert state(*life, Delayed(EMAILS_1, 7, 20.0, 3, 14.0, "")) == Backoff(7, "f", end, 20.0, 3)
    assert state(*life, Retired(EMAILS_1, 7, Resting.FAILED, 14.0, "")) == Finished(7, "f", end, Resting.FAILED)
    assert state(*life, Forgotten(EMAILS_1, 7, 14.0, "")) is None
    assert state(*life, SpawnRequested(EMAILS_1, 8, "f", SETTINGS, 15.0, "")) == Starting(8, "f", 15.0, SETTINGS)


def test_faults_44_an_end_that_was_asked_for_is_no_crash() -> None:
    """The request is recorded before the signal is sent."""
    observed = after(SPAWN, EXEC, ASK, EXIT, GONE)
    assert observed.queues["emails"].workers[1] == Ended(7, "f", End(ExitStatus(1), 11.0, 13.0, True, ready=11.0))
    assert observed.queues["emails"].streaks[1].crashes == 0


@pytest.mark.parametrize(
    "late",
    [
        Executing(EMAILS_1, 6, 1, 15.0),
        SpawnFailed(EMAILS_1, 6, FAILURE, 15.0),
        StopSignalled(EMAILS_1, 6, 20.0, 15.0),
        Exited(EMAILS_1, 6, ExitStatus(0), 15.0),
        Gone(EMAILS_1, 6, 0, 15.0),
        Refused(EMAILS_1, 6, "no", 15.0),
        Forgotten(EMAILS_1, 6, 15.0, ""),
        BecameReady(EMAILS_1, 6, 15.0),
        Condemned(EMAILS_1, 6, Doom.UNHEALTHY, "", 15.0),
        Stuck(EMAILS_1, 6, "", 15.0),
        StopRequested(EMAILS_1, 6, 20.0, 15.0, ""),
        Gone(EMAILS_1, 8, 0, 15.0),
    ],
    ids=lambda event: type(event).__name__,
)
@pytest.mark.parametrize("life", [(SPAWN,), (SPAWN, EXEC), (SPAWN, EXEC, ASK), (SPAWN, EXEC, EXIT)])
def test_faults_16_56_a_superseded_generation_cannot_publish(late: Event, life: tuple[Event, ...]) -> None:
    before = after(*life)
    assert fold(before, late) is before


def test_faults_16_a_stop_while_the_start_is_pending() -> None:
    """The worker is stopped whatever the spawn still has to say."""
    assert state(SPAWN, ASK) == Stopping(7, "f", 0, 10.0, 22.0, "surplus")
    assert state(SPAWN, ASK, EXEC) == Stopping(7, "f", 4711, 11.0, 22.0, "surplus")
    failed = state(SPAWN, ASK, SpawnFailed(EMAILS_1, 7, FAILURE, 12.5), GONE)
    assert failed == Ended(7, "f", End(FAILURE, 10.0, 12.5, asked=True))
    refused = state(SPAWN, ASK, Refused(EMAILS_1, 7, "full", 12.5))
    assert refused == Ended(7, "f", End(Refusal("full"), 10.0, 12.5, asked=True))


def test_a_refused_command_to_a_worker_that_runs_changes_nothing() -> None:
    before = after(SPAWN, EXEC)
    assert fold(before, Refused(EMAILS_1, 7, "no such file", 12.0)) is before


def test_faults_10_a_taken_slot_is_never_spawned_into() -> None:
    for life in ((SPAWN,), (SPAWN, EXEC), (SPAWN, EXEC, ASK), (SPAWN, EXEC, EXIT)):
        with pytest.raises(AssertionError, match=r"emails\.1 is taken"):
            after(*life, SpawnRequested(EMAILS_1, 8, "f", SETTINGS, 15.0, ""))


def test_new_settings_are_remembered() -> None:
    new = Settings(StopPolicy(grace=1.0), LogPolicy("/x"))
    changed = state(SPAWN, EXEC, ConfigureRequested(EMAILS_1, 7, new, 12.0, ""))
    assert changed == Running(7, "f", 4711, 11.0, new, ready=11.0)


def test_a_log_trouble_is_remembered_until_it_ends() -> None:
    trouble = after(SPAWN, LogProblem(EMAILS_1, "/full/log", 28, 10))
    assert trouble.queues["emails"].trouble[1, LogFailure.DATA].dropped == 10
    assert fold(trouble, LogProblem(EMAILS_1, "/full/log", 0, 10)).queues["emails"].trouble == {}


def test_troubles_of_different_kinds_are_remembered_apart() -> None:
    full, stuck = LogProblem(EMAILS_1, "/log", 28, 10), LogProblem(EMAILS_1, "/log", 13, 0, LogFailure.ROTATION)
    both = after(SPAWN, EXEC, EXIT, GONE, full, stuck)
    assert [str(trouble) for trouble in both.queues["emails"].trouble.values()] == [
        "/log takes no data: No space left on device, 10 bytes lost",
        "/log cannot be rotated and goes on growing: Permission denied; its directory must be writable",
    ]
    left = fold(both, LogProblem(EMAILS_1, "/log", 0, 10)).queues["emails"].trouble
    assert [trouble.failure for trouble in left.values()] == [LogFailure.ROTATION]
    assert fold(both, Forgotten(EMAILS_1, 7, 15.0, "")).queues["emails"].trouble == {}


def test_a_snapshot_ends_troubles_for_those_that_go_on_are_told_after_it() -> None:
    trouble = after(SPAWN, EXEC, LogProblem(EMAILS_1, "/log", 13, 0, LogFailure.REMOVAL))
    running = trouble.queues["emails"].workers[1]
    assert fold(trouble, Snapshot(((EMAILS_1, running),), 11.0, 7)).queues["emails"].trouble == {}


def test_a_log_trouble_of_nobody_is_not_remembered() -> None:
    """A file may report once more when its worker has been forgotten."""
    gone = after(SPAWN, EXEC, EXIT, GONE, Forgotten(EMAILS_1, 7, 15.0, ""), LogProblem(EMAILS_1, "/full", 28, 1))
    assert gone.queues["emails"].trouble == {}


def test_fold_leaves_what_it_was_given_alone() -> None:
    before = after(SPAWN)
    workers = dict(before.queues["emails"].workers)
    fold(before, EXEC)
    assert before.queues["emails"].workers == workers


def test_only_the_queue_of_the_event_is_copied() -> None:
    before = after(SPAWN, SpawnRequested(EMAILS_2.__class__("other", 1), 8, "f", SETTINGS, 10.0, ""))
    assert fold(before, EXEC).queues["other"] is before.queues["other"]


def test_faults_45_shutdown_is_a_latch() -> None:
    assert after(ShuttingDown("down", False), Snapshot((), 20.0, 0), SPAWN).shutting_down


class TestSnapshot:
    def test_it_replaces_what_was_known(self) -> None:
        found = Snapshot(((EMAILS_2, Running(9, "f", 5, 15.0, None)),), 20.0, 9)
        workers = after(SPAWN, EXEC, found).queues["emails"].workers
        assert workers == {2: Running(9, "f", 5, 15.0, None, found=20.0)}

    def test_requests_on_their_way_stay(self) -> None:
        """The keeper had not read the spawn of generation 7 when it told of everything."""
        assert state(SPAWN, Snapshot((), 20.0, 6)) == Starting(7, "f", 10.0, SETTINGS)
        assert state(SPAWN, Snapshot((), 20.0, 7)) is None

    def test_a_stop_on_its_way_stays(self) -> None:
        found = Snapshot(((EMAILS_1, Running(7, "f", 4711, 11.0, None)),), 20.0, 7)
        assert state(SPAWN, EXEC, ASK, found) == Stopping(7, "f", 4711, 11.0, 22.0, "surplus", ready=11.0)

    def test_settings_we_gave_stay_known(self) -> None:
        found = Snapshot(((EMAILS_1, Running(7, "f", 4711, 11.0, None)),), 20.0, 7)
        assert state(SPAWN, found) == Running(7, "f", 4711, 11.0, SETTINGS, ready=11.0)

    def test_an_end_that_was_asked_for_stays_one(self) -> None:
        found = Snapshot(((EMAILS_1, Ended(7, "f", End(ExitStatus(-15), 11.0, 13.0))),), 20.0, 7)
        ended = state(SPAWN, EXEC, ASK, found)
        assert isinstance(ended, Ended)
        assert ended.end.asked

    def test_what_was_decided_about_an_end_stays(self) -> None:
        delayed = (SPAWN, EXEC, EXIT, GONE, Delayed(EMAILS_1, 7, 20.0, 3, 14.0, ""))
        found = Snapshot(((EMAILS_1, Ended(7, "f", End(ExitStatus(1), 11.0, 13.0))),), 20.0, 7)
        assert state(*delayed, found) == state(*delayed)

    def test_it_keeps_the_counters_and_counts_no_end_twice(self) -> None:
        found = Snapshot(((EMAILS_1, Ended(7, "f", End(ExitStatus(1), 11.0, 13.0))),), 20.0, 7)
        told = after(SPAWN, EXEC, EXIT, GONE)
        untold = after(SPAWN, EXEC)
        assert fold(told, found).queues["emails"].streaks == {1: Streak(1, 0, 7, True, (13.0,))}
        assert fold(fold(untold, found), found).queues["emails"].streaks == {1: Streak(1, 0, 7, True, (13.0,))}

    def test_an_end_that_a_fresh_start_has_left_behind_is_not_counted(self) -> None:
        """The keeper had not read the spawn of generation 8 when it told how 7 ended."""
        found = Snapshot(((EMAILS_1, Ended(7, "f", End(ExitStatus(1), 11.0, 13.0))),), 20.0, 7)
        fresh = SpawnRequested(EMAILS_1, 8, "f", SETTINGS, 15.0, "asked", fresh=True)
        told = after(SPAWN, EXEC, EXIT, GONE, fresh, found).queues["emails"]
        assert told.streaks == {}
        assert told.workers == {1: Starting(8, "f", 15.0, SETTINGS)}

    def test_whoever_was_ready_stays_so_whatever_the_snapshot_forgets(self) -> None:
        found = Snapshot(((EMAILS_1, Stopping(7, "f", 4711, 11.0, 22.0, "")),), 20.0, 7)
        for asked in ((), (ASK,)):
            stopping = state(SPAWN, EXEC, *asked, found)
            assert isinstance(stopping, Stopping) and stopping.ready == 11.0
            ended = Snapshot(((EMAILS_1, Ended(7, "f", End(ExitStatus(1), 11.0, 13.0))),), 20.0, 7)
            gone = state(SPAWN, EXEC, *asked, ended)
            assert isinstance(gone, Ended) and gone.end.ready == 11.0


def test_other_settings_make_ready_whoever_executes_and_never_unready() -> None:
    plain = ConfigureRequested(EMAILS_1, 7, SETTINGS, 13.0, "")
    harder = ConfigureRequested(EMAILS_1, 7, LATER.settings, 13.0, "")
    waits, ready = state(LATER, EXEC), state(SPAWN, EXEC, harder)
    assert isinstance(waits, Running) and waits.ready is None
    assert isinstance(ready, Running) and ready.ready == 11.0
    made = state(LATER, EXEC, plain)
    assert isinstance(made, Running) and made.ready == 11.0


class TestCount:
    crash = End(ExitStatus(1), 10.0, 11.0)

    def test_crashes_add_up(self) -> None:
        assert count(Streak(2, 0, 5), 6, self.crash) == Streak(3, 0, 6, True, (11.0,))

    def test_a_generation_counts_once(self) -> None:
        assert count(Streak(2, 0, 6), 6, self.crash) == Streak(2, 0, 6)

    def test_faults_42_a_healthy_life_begins_a_new_count(self) -> None:
        assert count(Streak(9, 0, 5), 6, End(ExitStatus(0), 10.0, 10.0 + HEALTHY_AFTER)) == Streak(1, 0, 6)

    def test_health_is_counted_from_when_it_was_ready(self) -> None:
        """FAULTS 42: one that takes a minute to fail at its start is not well for a minute."""
        soon, never = End(ExitStatus(1), 10.0, 80.0, ready=75.0), End(ExitStatus(1), 10.0, 80.0, unready=True)
        unknown = End(ExitStatus(1), 10.0, 80.0)
        assert [count(Streak(2, 0, 5), 6, end).crashes for end in (soon, never, unknown)] == [3, 3, 1]

    def test_a_failure_is_a_bad_end_whenever_it_comes_and_any_that_comes_too_soon(self) -> None:
        late = 10.0 + HEALTHY_AFTER
        assert count(Streak(9, 0, 5), 6, End(ExitStatus(1), 10.0, late)) == Streak(1, 0, 6, True, (late,))
        assert count(CALM, 6, End(ExitStatus(0), 10.0, 11.0)) == Streak(1, 0, 6, True, (11.0,))

    def test_failures_are_remembered_over_a_healthy_life_and_not_without_end(self) -> None:
        earlier = tuple(float(at) for at in range(MOST_FAILURES))
        healthy = count(Streak(1, 0, 5, True, earlier), 6, End(ExitStatus(0), 100.0, 200.0))
        assert healthy == Streak(1, 0, 6, False, earlier)
        assert count(healthy, 7, End(ExitStatus(1), 300.0, 301.0)).failures == (*earlier[1:], 301.0)

    def test_an_end_that_was_asked_for_begins_a_new_count(self) -> None:
        assert count(Streak(9, 1, 5), 6, End(ExitStatus(-15), 10.0, 11.0, asked=True)) == Streak(0, 0, 6)

    def test_faults_24_a_lack_of_resources_is_no_crash(self) -> None:
        scarce = End(SpawnFailure("clone", 11, "", transient=True), 10.0, 10.0)
        assert count(count(CALM, 1, scarce), 2, scarce) == Streak(0, 2, 2)

    def test_faults_23_a_bad_command_is_no_crash(self) -> None:
        assert count(Streak(2, 3, 5), 6, End(FAILURE, 10.0, 10.0)) == Streak(2, 0, 6, True, ())


def test_states_and_outcomes_can_be_read() -> None:
    assert str(ExitStatus(3)) == "exit code 3"
    assert str(ExitStatus(-15)) == "SIGTERM"
    assert str(ExitStatus(-99)) == "signal 99"
    assert str(FAILURE) == 'command "work" not found in the PATH of its environment'
    assert str(SpawnFailure("exec", 2, "/x/work", False)) == 'cannot execute "/x/work": No such file or directory'
    assert (
        str(SpawnFailure("exec", 8, "/x", False))
        == 'cannot execute "/x": neither a program nor a script with a #! line'
    )
    assert (
        str(SpawnFailure("interpreter", 2, "/x", False))
        == 'the interpreter that the first line of "/x" names does not exist'
    )
    assert (
        str(SpawnFailure("directory", 2, "/no", False)) == 'cannot enter the directory "/no": No such file or directory'
    )
    assert str(SpawnFailure("clone", 11, "", True)) == "cannot prepare it (clone): Resource temporarily unavailable"
    assert str(Refusal("no")) == "refused: no"


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (("user", 1, "1000"), "cannot become user 1000: not permitted; procq must run as root for `user:`"),
        (("groups", 1, "1000"), "cannot become user 1000: not permitted; procq must run as root for `user:`"),
        (("user", 1, ""), "cannot become another user: not permitted; procq must run as root for `user:`"),
        (("user", 11, "1000"), "cannot become user 1000: Resource temporarily unavailable"),
        (
            ("nice", 13, ""),
            "cannot set its niceness: not permitted; procq must run as root for a niceness below its own",
        ),
        (
            ("limits", 1, "nofile"),
            'cannot set the limit "nofile": not permitted; procq must run as root to go above its own hard limit',
        ),
        (("limits", 22, "nproc"), 'cannot set the limit "nproc": Invalid argument'),
        (("terminal", 28, ""), "cannot give it a terminal: No space left on device"),
    ],
)
def test_what_a_worker_cannot_get_is_named(failure: tuple[str, int, str], text: str) -> None:
    stage, number, about = failure
    assert str(SpawnFailure(stage, number, about, transient=False)) == text
