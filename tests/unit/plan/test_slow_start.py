"""How many of a queue's workers that failed again and again are tried at a time."""

from __future__ import annotations

from dataclasses import replace

from procq.intent import Intent, desired_queue
from procq.model import Notify, Readiness
from procq.plan.slow_start import trial
from procq.state import QueueState, Running, Settings, Streak
from tests.queues import manifest, queue

SUSPECT = Streak(crashes=2, generation=1, failed=True)
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
