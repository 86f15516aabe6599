"""How many of a queue's workers that failed again and again are tried at a time."""

from __future__ import annotations

from dataclasses import replace

from procq.endings import End, ExitStatus
from procq.intent import Intent, desired_queue
from procq.model import Notify, Readiness
from procq.plan.slow_start import failing, trial
from procq.state import Backoff, QueueState, Running, Settings, Streak
from procq.testing.script import NOT_FOUND
from tests.queues import manifest, queue

SUSPECT = Streak(crashes=2, generation=1, failed=True)
END = End(ExitStatus(1), 99.0, 100.0)
WAITING = replace(queue(workers=2), ready=Readiness(Notify(), 60.0))


def tried(state: Running) -> int:
    desired = desired_queue(Intent(manifest(WAITING)), "emails")
    assert desired is not None
    return trial(desired, QueueState({1: state}, {1: SUSPECT}), 500.0)[0]


def test_a_suspect_is_tried_until_it_works() -> None:
    unready = Running(2, WAITING.fingerprint, 4711, 100.0, Settings.of(WAITING))
    assert tried(unready) == 1
    assert tried(replace(unready, ready=499.9)) == 1, "for the pause of a roll-out"
    assert tried(replace(unready, ready=400.0)) == 0


def test_one_of_which_nobody_knows_what_it_promised_is_not_tried_for_ever() -> None:
    """Of another program, found by a new control plane: nothing will ever make it ready or fail."""
    assert tried(Running(2, "another", 4711, 100.0, None)) == 0


def is_failing(queue_state: QueueState, workers: int = 2, now: float = 500.0) -> bool:
    desired = desired_queue(Intent(manifest(replace(WAITING, workers=workers))), "emails")
    assert desired is not None
    return failing(desired, queue_state, now)


def test_a_queue_fails_while_none_of_its_workers_has_worked_for_long() -> None:
    new = Running(2, WAITING.fingerprint, 4711, 480.0, Settings.of(WAITING))
    tried = replace(new, ready=491.0)
    assert is_failing(QueueState({1: new, 2: Backoff(1, "p", END, 520.0, 3)}, {2: SUSPECT}))
    assert is_failing(QueueState({1: tried}, {1: SUSPECT}))
    assert not is_failing(QueueState({1: replace(new, ready=490.0)}, {1: SUSPECT}))
    assert not is_failing(QueueState({1: new, 2: replace(new, ready=490.0)}, {1: SUSPECT}))
    assert not is_failing(QueueState({1: new, 2: Backoff(1, "p", END, 520.0, 1)}, {2: replace(SUSPECT, crashes=1)}))
    assert not is_failing(QueueState({}, {1: SUSPECT})), "who is not there fails no more"
    assert not is_failing(QueueState({2: new}, {2: SUSPECT}), workers=1), "nor does who leaves"


def test_a_command_that_cannot_be_executed_fails_at_once() -> None:
    assert is_failing(QueueState({1: Backoff(1, "p", replace(END, outcome=NOT_FOUND), 520.0, 1)}))
