"""Slots that fail too often rest, until somebody acts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procq.endings import HEALTHY_AFTER
from procq.engine.port import SpawnWorker
from procq.intent import restart, start
from procq.model import Backoff, GiveUp, Notify, Queue, Readiness, RestartPolicy, RestartWhen, WorkerId
from procq.state import Finished, Resting, Running
from procq.testing import NOT_FOUND, TOO_MANY_PROCESSES, Rig, Script, never_ready
from procq.views import About, queue_view
from tests.queues import EMAILS_1, manifest, queue

CRASHES = Script(run_for=0.1, exit_code=1)


def giving_up(failures: int = 5, within: float = 300.0, when: RestartWhen = RestartWhen.ALWAYS) -> Queue:
    policy = RestartPolicy(when, Backoff(0.1, 1.0), GiveUp(failures, within))
    return replace(queue("emails", 1), restart=policy)


def spawned(rig: Rig) -> int:
    return sum(isinstance(c, SpawnWorker) for c in rig.keeper.commands)


def rests(rig: Rig) -> bool:
    state = rig.engine.snapshot().worker(EMAILS_1)
    return isinstance(state, Finished) and state.why is Resting.GAVE_UP


def test_the_last_failure_is_the_one_that_was_named() -> None:
    rig = Rig(manifest(giving_up()), lambda *_: CRASHES)
    rig.advance(600)
    assert rests(rig)
    assert spawned(rig) == 5
    view = queue_view(rig.engine.snapshot(), "emails", rig.clock.now, About())
    assert (view.state, view.problem) == ("failing", "gave up after 5 in 5m: exit code 1")


@pytest.mark.parametrize("script", [Script(run_for=0.1), Script(kill_after=0.1)])
def test_what_counts(script: Script) -> None:
    rig = Rig(manifest(giving_up()), lambda *_: script)
    rig.advance(600)
    assert rests(rig)
    assert spawned(rig) == 5


@pytest.mark.parametrize(
    "script", [Script(start_error=NOT_FOUND), Script(start_error=TOO_MANY_PROCESSES), Script(run_for=HEALTHY_AFTER + 1)]
)
def test_what_does_not(script: Script) -> None:
    rig = Rig(manifest(giving_up()), lambda *_: script)
    rig.advance(600)
    assert not rests(rig)
    assert spawned(rig) > 20


def test_failures_long_ago_do_not_count() -> None:
    rig = Rig(manifest(giving_up(3, 20.0)), lambda *_: Script(run_for=15.0, exit_code=1))
    rig.advance(300)
    assert not rests(rig)
    rig.adopt(manifest(giving_up(3, 60.0)))
    rig.advance(60)
    assert rests(rig), "a policy saved later counts the failures that were"


def test_those_that_were_asked_to_leave_did_not_fail() -> None:
    rig = Rig(manifest(giving_up(2)))
    for _ in range(5):
        rig.engine.change(lambda i: restart(i, ["emails"], rig.engine.last_generation), "restart")
        rig.advance(1)
    assert isinstance(rig.engine.snapshot().worker(EMAILS_1), Running)


@pytest.mark.parametrize("how", ["start", "restart", "rolling restart", "another command", "a more patient policy"])
def test_somebody_acts(how: str) -> None:
    scripts = [CRASHES]
    rig = Rig(manifest(giving_up()), lambda *_: scripts[0])
    rig.advance(600)
    scripts[0] = Script()
    engine = rig.engine
    match how:
        case "start":
            engine.change(lambda i: start(i, ["emails"], engine.now), how)
        case "restart" | "rolling restart":
            engine.change(lambda i: restart(i, [EMAILS_1], engine.last_generation, how != "restart"), how)
        case "another command":
            rig.adopt(manifest(replace(giving_up(), argv=("other",))))
        case _:
            rig.adopt(manifest(giving_up(50)))
    rig.advance(0.01)
    state = rig.engine.snapshot().worker(EMAILS_1)
    assert isinstance(state, Running)


def test_started_again_it_may_fail_as_often_as_before() -> None:
    rig = Rig(manifest(giving_up()), lambda *_: CRASHES)
    rig.advance(600)
    rig.engine.change(lambda i: start(i, ["emails"], rig.engine.now), "start")
    rig.advance(600)
    assert rests(rig)
    assert spawned(rig) == 10


def test_it_outlives_the_control_plane() -> None:
    rig = Rig(manifest(giving_up()), lambda *_: CRASHES)
    rig.advance(2)
    so_far = spawned(rig)
    assert 2 < so_far < 6
    rig.advance(5)
    rig.replace_control_plane()
    rig.advance(600)
    assert rests(rig)
    assert spawned(rig) == 5
    rig.replace_control_plane()
    rig.advance(600)
    assert rests(rig)
    assert spawned(rig) == 5


def test_who_was_stopped_for_a_fault_is_remembered_as_that() -> None:
    """The keeper knows that it was told to leave, and not for what."""
    unwell = replace(giving_up(3), ready=Readiness(Notify(), 5.0))
    rig = Rig(manifest(unwell), lambda *_: never_ready())
    rig.advance(600)
    for _ in range(2):
        assert rests(rig)
        assert spawned(rig) == 3
        rig.replace_control_plane()
        rig.advance(600)
    view = queue_view(rig.engine.snapshot(), "emails", rig.clock.now, About())
    assert view.problem == "gave up after 3 in 5m: a fault that was told before procq went on"


def test_one_that_is_never_restarted_is_not_by_another_control_plane() -> None:
    unwell = replace(giving_up(when=RestartWhen.NEVER), ready=Readiness(Notify(), 5.0))
    rig = Rig(manifest(unwell), lambda *_: never_ready())
    rig.advance(60)
    rig.replace_control_plane()
    rig.advance(60)
    state = rig.engine.snapshot().worker(EMAILS_1)
    assert isinstance(state, Finished)
    assert (state.why, state.generation) == (Resting.FAILED, 1)


def test_who_has_done_its_work_has_not_given_up() -> None:
    scripts = iter([CRASHES, CRASHES, Script(run_for=0.1)])
    rig = Rig(manifest(giving_up(3, when=RestartWhen.ON_FAILURE)), lambda *_: next(scripts))
    rig.advance(600)
    state = rig.engine.snapshot().worker(EMAILS_1)
    assert isinstance(state, Finished)
    assert state.why is Resting.COMPLETED


def test_each_slot_for_itself() -> None:
    two = replace(giving_up(), workers=2)
    rig = Rig(manifest(two), lambda worker, _: CRASHES if worker.slot == 2 else Script())
    rig.advance(600)
    assert isinstance(rig.engine.snapshot().worker(EMAILS_1), Running)
    assert isinstance(rig.engine.snapshot().worker(WorkerId("emails", 2)), Finished)


def test_a_policy_that_never_restarts_has_nothing_to_give_up() -> None:
    rig = Rig(manifest(giving_up(1, when=RestartWhen.NEVER)), lambda *_: CRASHES)
    rig.advance(10)
    state = rig.engine.snapshot().worker(EMAILS_1)
    assert isinstance(state, Finished)
    assert state.why is Resting.FAILED
