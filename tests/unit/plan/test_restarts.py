"""What becomes of the slot of a worker that ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procq.endings import End, ExitStatus, Outcome, SpawnFailure
from procq.intent import DesiredQueue, Intent, desired_queue, restart, start, stop
from procq.model import Backoff, Manifest, WorkerId
from procq.plan.actions import Reason
from procq.plan.restarts import Rest, StartAgain, delay, verdict
from procq.state import CALM, Ended, Resting, Streak
from tests.queues import EMAILS_1, manifest, queue

BACKOFF = Backoff(initial=0.1, maximum=30.0)
NOT_FOUND = SpawnFailure("exec", 2, "work", transient=False)
SCARCE = SpawnFailure("clone", 11, "", transient=True)


def intent(when: str = "always") -> Intent:
    return Intent(manifest(queue(when=when)))


def desired(wanted: Intent | Manifest) -> DesiredQueue:
    found = desired_queue(wanted if isinstance(wanted, Intent) else Intent(wanted), "emails")
    assert found is not None
    return found


def dead(outcome: Outcome, asked: bool = False, command: str = "work") -> Ended:
    return Ended(7, queue(command=command).fingerprint, End(outcome, 90.0, 100.0, asked))


class TestDelay:
    def test_faults_42_the_first_restart_is_immediate(self) -> None:
        assert delay(BACKOFF, EMAILS_1, 1) == 0.0

    def test_later_ones_double_up_to_the_cap(self) -> None:
        for attempt in range(2, 200):
            full = min(0.1 * 2.0 ** min(attempt - 2, 100), 30.0)
            assert 0.75 * full <= delay(BACKOFF, EMAILS_1, attempt) <= full

    def test_faults_42_workers_do_not_rise_together_at_the_cap_either(self) -> None:
        waits = {delay(BACKOFF, WorkerId("emails", slot), 50) for slot in range(1, 101)}
        assert len(waits) == 100
        assert max(waits) - min(waits) > 5.0

    def test_it_is_a_function_of_worker_and_attempt(self) -> None:
        assert delay(BACKOFF, EMAILS_1, 9) == delay(BACKOFF, EMAILS_1, 9)


class TestPolicy:
    @pytest.mark.parametrize(
        ("when", "code", "rests"),
        [
            ("always", 0, None),
            ("always", 1, None),
            ("on-failure", 0, Resting.COMPLETED),
            ("on-failure", 1, None),
            ("on-failure", -9, None),
            ("never", 0, Resting.COMPLETED),
            ("never", 1, Resting.FAILED),
        ],
    )
    def test_table(self, when: str, code: int, rests: Resting | None) -> None:
        found = verdict(EMAILS_1, desired(intent(when)), dead(ExitStatus(code)), Streak(1, 0, 7))
        assert (found.why if isinstance(found, Rest) else None) is rests

    def test_a_first_crash_starts_at_once_a_third_waits(self) -> None:
        first = verdict(EMAILS_1, desired(intent()), dead(ExitStatus(1)), Streak(1, 0, 7))
        third = verdict(EMAILS_1, desired(intent()), dead(ExitStatus(1)), Streak(3, 0, 7))
        assert first == StartAgain(100.0, 1, Reason.ENDED)
        assert third == StartAgain(100.0 + delay(BACKOFF, EMAILS_1, 3), 3, Reason.CRASHED)

    def test_an_end_that_was_asked_for_is_filled_whatever_the_policy(self) -> None:
        found = verdict(EMAILS_1, desired(intent("never")), dead(ExitStatus(-15), asked=True))
        assert found == StartAgain(100.0, 0, Reason.WANTED)

    def test_a_stopped_slot_rests(self) -> None:
        found = verdict(EMAILS_1, desired(stop(intent(), [EMAILS_1])), dead(ExitStatus(1)))
        assert found == Rest(Resting.STOPPED, Reason.STOPPED)


class TestFailedSpawns:
    def test_faults_23_a_bad_command_waits_the_maximum_at_once(self) -> None:
        found = verdict(EMAILS_1, desired(intent()), dead(NOT_FOUND))
        assert isinstance(found, StartAgain)
        assert 122.0 < found.at <= 130.0
        assert found.reason is Reason.BAD_COMMAND

    def test_a_bad_command_of_a_queue_that_never_restarts_failed(self) -> None:
        assert verdict(EMAILS_1, desired(intent("never")), dead(NOT_FOUND)) == Rest(Resting.FAILED, Reason.BAD_COMMAND)

    @pytest.mark.parametrize("when", ["always", "on-failure", "never"])
    def test_faults_24_a_lack_of_resources_passes_soon(self, when: str) -> None:
        """It never ran, so no policy keeps it from being tried again."""
        found = verdict(EMAILS_1, desired(intent(when)), dead(SCARCE), Streak(0, 9, 7))
        assert isinstance(found, StartAgain)
        assert 100.75 <= found.at <= 101.0

    def test_another_command_is_tried_at_once(self) -> None:
        found = verdict(EMAILS_1, desired(manifest(queue(command="wurk"))), dead(NOT_FOUND), CALM)
        assert found == StartAgain(100.0, 0, Reason.CHANGED)

    def test_start_tries_at_once_what_ended_before_it(self) -> None:
        asked = desired(start(intent("never"), ["emails"], 101.0))
        assert verdict(EMAILS_1, asked, dead(NOT_FOUND)) == StartAgain(100.0, 0, Reason.ASKED)
        later = replace(dead(ExitStatus(0)), end=End(ExitStatus(0), 100.0, 105.0))
        assert isinstance(verdict(EMAILS_1, asked, later), Rest)

    def test_restart_tries_at_once(self) -> None:
        asked = desired(restart(intent(), [EMAILS_1], 7))
        assert verdict(EMAILS_1, asked, dead(NOT_FOUND)) == StartAgain(100.0, 0, Reason.ASKED)
