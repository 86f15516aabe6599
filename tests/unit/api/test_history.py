"""What is remembered, and what a reader is told that comes late."""

from __future__ import annotations

import asyncio

from procq.describe import describe
from procq.endings import ExitStatus, SpawnFailure
from procq.events import Attached, Executing, Exited, Reported, Retired, SpawnFailed, SpawnRequested, StopRequested
from procq.history import History
from procq.journal.record import Entry, Past
from procq.lives import Life, Lives
from procq.model import LogPolicy, StopPolicy
from procq.state import Jobs, Report, Resting, Settings
from procq.wire import EventView
from tests.queues import EMAILS_1

SETTINGS = Settings(StopPolicy(), LogPolicy())


def history(notes: int, length: int = 5) -> History:
    # Ids begin at 1 at this time.
    made = History(clock=lambda: 0.000001, length=length)
    for n in range(1, notes + 1):
        made.note("test", str(n))
    return made


def test_readers_get_what_they_have_not_seen() -> None:
    assert [event.text for event in history(3).since(0)] == ["1", "2", "3"]
    assert [event.text for event in history(3).since(2)] == ["3"]
    assert history(3).since(3) == []
    assert history(0).since(0) == []


def test_a_reader_that_fell_behind_is_told_how_far() -> None:
    late = history(9).since(2)
    assert (late[0].kind, late[0].text) == ("gap", "2 events before this are forgotten")
    assert [event.text for event in late[1:]] == ["5", "6", "7", "8", "9"]
    assert [event.id for event in late] == [4, 5, 6, 7, 8, 9]
    assert [event.kind for event in history(9).since(0)] == ["test"] * 5


def test_an_id_from_before_a_restart_hides_nothing() -> None:
    assert [event.text for event in history(3).since(1000)] == ["1", "2", "3"]


def test_followers_wait_without_missing_anything() -> None:
    async def story() -> list[str]:
        remembered = history(1)
        await remembered.until_news(0, 60.0)
        await remembered.until_news(1, 0.01)
        waiting = asyncio.create_task(remembered.until_news(1, 60.0))
        await asyncio.sleep(0)
        for text in ("2", "3"):
            remembered.note("test", text)
        await waiting
        return [event.text for event in remembered.since(0)]

    assert asyncio.run(story()) == ["1", "2", "3"]


def test_an_exit_that_was_asked_for_is_no_crash() -> None:
    remembered, lives = History(), Lives()
    for event in (
        Executing(EMAILS_1, 1, 4711, at=10.0),
        Exited(EMAILS_1, 1, ExitStatus(1), at=22.0),
        SpawnRequested(EMAILS_1, 2, "f", SETTINGS, 22.0, "it ended", fresh=False),
        Executing(EMAILS_1, 2, 4712, at=22.5),
        StopRequested(EMAILS_1, 2, 33.0, 23.0, "somebody stopped it"),
        Exited(EMAILS_1, 2, ExitStatus(-15), at=23.5),
        Retired(EMAILS_1, 2, Resting.STOPPED, 23.5, "somebody stopped it"),
    ):
        remembered.record(event, lives.look(event))
    told = [(event.kind, event.text) for event in remembered.since(0)]
    assert ("exited", "exit code 1 after 12 s") in told
    assert ("left", "SIGTERM after 1 s") in told
    assert told[-1] == ("rests", "stays stopped: somebody stopped it")
    # A start that somebody asked for is none.
    remembered.record(SpawnRequested(EMAILS_1, 3, "f", SETTINGS, 24.0, "somebody asked for it", fresh=True))
    assert remembered.restarts == {EMAILS_1: 1}
    assert describe(SpawnRequested(EMAILS_1, 2, "f", SETTINGS, 22.0, "it ended")) is None


def test_what_was_asked_of_one_that_never_executed_is_not_asked_of_the_next() -> None:
    lives = Lives()
    for event in (
        SpawnRequested(EMAILS_1, 1, "f", SETTINGS, 0.0, "wanted", fresh=True),
        StopRequested(EMAILS_1, 1, 33.0, 30.0, "not ready in time", fault="not ready in time"),
        SpawnFailed(EMAILS_1, 1, SpawnFailure("exec", 2, "work", transient=False), 31.0),
        SpawnRequested(EMAILS_1, 2, "f", SETTINGS, 32.0, "it ended", fresh=False),
        Executing(EMAILS_1, 2, 4712, at=32.5),
    ):
        lives.look(event)
    assert lives.look(Exited(EMAILS_1, 2, ExitStatus(1), at=40.5)) == Life(8.0)


def test_an_end_tells_what_the_worker_had_done_and_was_at() -> None:
    remembered, lives = History(), Lives()
    work = Jobs(jobs=57, failed=2)
    for event in (
        Executing(EMAILS_1, 1, 4711, at=10.0),
        Reported(EMAILS_1, Report(1, work=work, busy=1, job="17 send", since=19.0)),
        Exited(EMAILS_1, 1, ExitStatus(-9), at=22.0),
        Executing(EMAILS_1, 2, 4712, at=23.0),
        Exited(EMAILS_1, 2, ExitStatus(1), at=24.0),
    ):
        remembered.record(event, lives.look(event))
    first, second = [event for event in remembered.since(0) if event.kind == "exited"]
    assert first.text == "SIGKILL, sender unknown after 12 s; 57 jobs (2 failed), interrupted at 17 send for 3 s"
    assert (first.jobs, first.jobs_failed, first.job) == (57, 2, "17 send")
    assert (second.text, second.jobs, second.job) == ("exit code 1 after 1 s", None, None)


# --- the journal behind it -------------------------------------------------------------------------------------------


def nothing_older(after: int, before: int, *, newest: bool = False) -> list[EventView]:
    return []


def test_events_wait_for_the_journal_and_go_there_from_then_on() -> None:
    kept: list[Entry] = []
    remembered = History(clock=lambda: 1000.0, keep=True, length=5)
    remembered.record(Attached(1, 77, 0, False))
    for n in range(20):
        remembered.note("test", str(n))
    remembered.attach(Past(newest=12), kept.append, nothing_older)
    assert [entry.event.text for entry in kept] == [str(n) for n in range(20)]
    assert [entry.event.id for entry in kept] == list(range(1_000_000_000, 1_000_000_020))
    remembered.note("test", "later")
    assert kept[-1].event == remembered.since(0)[-1]
    assert {entry.keeper for entry in kept} == {77}
    # One that has had no control plane before knows nothing of itself.
    assert remembered.keeper == 0


def test_ids_go_on_above_those_of_before_whatever_the_clock_says() -> None:
    kept: list[Entry] = []
    remembered = History(clock=lambda: 1.0, keep=True)
    for n in range(3):
        remembered.note("test", str(n))
    remembered.attach(Past(newest=5_000_000), kept.append, nothing_older)
    remembered.note("test", "3")
    assert [entry.event.id for entry in kept] == list(range(5_000_001, 5_000_005))
    assert [entry.event for entry in kept] == remembered.since(0)
    assert remembered.since(5_000_002) == remembered.since(0)[2:]


def test_an_end_that_was_told_before_is_not_told_again() -> None:
    kept: list[Entry] = []
    remembered = History(keep=True)
    remembered.record(Attached(2, 2**64 - 1, 0, False))
    for generation in (4, 5):
        remembered.record(Exited(EMAILS_1, generation, ExitStatus(1), 22.0))
    past = Past(7, {("emails.1", "exited"): 4}, saved=900.0)
    remembered.attach(past, kept.append, nothing_older)
    assert [(entry.event.kind, entry.generation) for entry in kept] == [("control_plane", None), ("exited", 5)]
    assert [event.id for event in remembered.since(0)] == [entry.event.id for entry in kept]
    assert (remembered.keeper, remembered.saved) == (2**63 - 1, 900.0)


def test_where_nobody_keeps_them_nothing_waits() -> None:
    remembered = History()
    remembered.note("test", "1")
    assert not remembered._unkept
