"""As what a worker is counted that takes the place of one that has ended."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from procq.endings import EARLIER_FAULT, Doom, Doomed, End, ExitStatus, Outcome, SpawnFailure
from procq.engine.port import SaveIntent
from procq.intent import restart
from procq.model import Backoff, RestartPolicy
from procq.plan.actions import Reason
from procq.plan.restarted import Restarted, restarted, unwanted
from procq.testing import NOT_FOUND, Rig, Script, crashes, everyone, exits, reaches
from tests.queues import manifest, queue

KILL = -signal.SIGKILL


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (ExitStatus(0), Restarted.COMPLETED),
        (ExitStatus(3), Restarted.FAILED),
        (ExitStatus(KILL), Restarted.KILLED),
        (ExitStatus(KILL, oom=True), Restarted.MEMORY),
        (ExitStatus(1, oom=True), Restarted.MEMORY),
    ],
)
def test_ends_that_nobody_asked_for(outcome: Outcome, expected: Restarted) -> None:
    for reason in (Reason.ENDED, Reason.CRASHED):
        assert restarted(reason, End(outcome, 1.0, 2.0)) is expected


@pytest.mark.parametrize("doom", Doom)
def test_each_fault_and_each_limit_is_known_by_what_is_told_of_it(doom: Doom) -> None:
    """A `Doom` that is new, or worded otherwise, would be counted as what it is not."""
    told = str(Doomed(doom, "17 of 4 allowed", 1.0))
    end = End(ExitStatus(0), 1.0, 2.0, asked=True)
    if doom.fault:
        found = restarted(Reason.FAULTY, replace(end, fault=told))
        assert found.value == doom.name.lower()
        assert found.unwanted
    else:
        found = restarted(Reason.WANTED, replace(end, limit=told))
        assert found.value == f"limit_{doom.name.lower()}"
        assert not found.unwanted


def test_what_is_not_told_exactly() -> None:
    asked = End(ExitStatus(0), 1.0, 2.0, asked=True)
    assert restarted(Reason.FAULTY, replace(asked, fault=EARLIER_FAULT)) is Restarted.FAULT
    assert restarted(Reason.WANTED, asked) is Restarted.ASKED
    assert restarted(Reason.CHANGED, asked) is Restarted.CHANGED
    assert restarted(Reason.BAD_COMMAND, End(NOT_FOUND, 1.0, 2.0)) is Restarted.NOT_STARTED
    assert restarted(Reason.NO_RESOURCES, End(SpawnFailure("clone", 11, "", True), 1.0, 2.0)) is Restarted.NOT_STARTED


SCRIPTS = {
    Restarted.COMPLETED: exits(0, after=20),
    Restarted.FAILED: exits(1, after=20),
    Restarted.KILLED: crashes(after=20),
    Restarted.UNHEALTHY: reaches(Doom.UNHEALTHY, "503", after=20),
    Restarted.LIMIT_JOBS: reaches(Doom.JOBS, "1000 done", after=20),
}


@pytest.mark.parametrize("reason", SCRIPTS)
def test_counts_by_reason_outlive_the_control_plane(reason: Restarted) -> None:
    rig = Rig(manifest(queue()), lambda _, generation: SCRIPTS[reason] if generation == 1 else Script())
    rig.advance(30)
    assert rig.engine.snapshot().restarts == {"emails": {reason: 1}}
    rig.replace_control_plane()
    assert rig.engine.snapshot().restarts == {"emails": {reason: 1}}
    rig.engine.change(lambda i: restart(i, ["emails"], rig.engine.last_generation), "procq restart")
    rig.advance(30)
    assert rig.engine.snapshot().restarts == {"emails": {reason: 1, Restarted.ASKED: 1}}
    assert unwanted(rig.engine.snapshot().restarts["emails"]) == int(reason.unwanted)


def test_another_command_is_a_change_and_more_workers_are_none() -> None:
    rig = Rig(manifest(queue("emails", 2)), everyone(Script()))
    rig.advance(30)
    rig.adopt(manifest(queue("emails", 3, command="other")))
    rig.advance(60)
    assert rig.engine.snapshot().restarts == {"emails": {Restarted.CHANGED: 2}}


@pytest.mark.parametrize("failures", [1, 2], ids=["at once", "after a long wait"])
def test_a_restart_is_kept_as_soon_as_it_is_counted(failures: int) -> None:
    """A counter that falls looks as if it had begun anew. The second one waits for longer than counters do."""
    patient = replace(queue(), restart=RestartPolicy(backoff=Backoff(25.0, 25.0)))
    rig = Rig(manifest(patient), lambda _, generation: exits(1, after=5) if generation <= failures else Script())
    while unwanted(rig.engine.snapshot().restarts.get("emails", {})) < failures:
        rig.advance_to_next(rig.clock.now + 60)
    rig.replace_control_plane()
    assert rig.engine.snapshot().restarts == {"emails": {Restarted.FAILED: failures}}


def test_many_restarts_are_kept_once_in_a_while() -> None:
    rig = Rig(
        manifest(queue("emails", 100)), lambda _, generation: exits(1, after=5) if generation <= 100 else Script()
    )
    rig.advance(4.9)
    before = len([each for each in rig.keeper.commands if isinstance(each, SaveIntent)])
    rig.advance(5)
    assert unwanted(rig.engine.snapshot().restarts["emails"]) == 100
    saved = len([each for each in rig.keeper.commands if isinstance(each, SaveIntent)]) - before
    assert saved <= 3
