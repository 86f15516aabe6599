"""Watchdogs, more time at the end, and readiness by a line of output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.process.support.keeper import Event, Keeper
from tests.process.support.speaker import Speaker
from tests.process.support.waiting import throughout

pytestmark = pytest.mark.process

SECOND = 1_000_000_000
FOREVER = 3_600_000
"""Milliseconds."""


def expiries(keeper: Keeper, generation: int) -> list[Event]:
    keeper.pump()
    return [e for e in keeper.events if e["t"] == "watchdog_expired" and e["generation"] == generation]


# --- watchdog


def test_a_watchdog_waits_from_readiness_on_and_expires_once(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, watchdog=100) as speaker:
        throughout(0.3, lambda: not expiries(keeper, speaker.generation), "patience before readiness")
        speaker.says("READY=1")
        ready = keeper.of(speaker.generation, "ready")
        found = keeper.of(speaker.generation, "watchdog_expired")
        assert found["silence"] == 100
        assert found["at"] >= ready["at"] + SECOND // 10
        speaker.says("WATCHDOG=1", "WATCHDOG=trigger")
        throughout(0.3, lambda: len(expiries(keeper, speaker.generation)) == 1, "once")


@pytest.mark.parametrize("ready", ["spawned", "told"])
def test_a_watchdog_waits_whoever_finds_the_worker_ready(keeper: Keeper, tmp_path: Path, ready: str) -> None:
    with Speaker(keeper, tmp_path, watchdog=50, ready=ready) as speaker:
        if ready == "told":
            keeper.send({"t": "mark_ready", "worker": "w.1", "generation": speaker.generation})
        keeper.of(speaker.generation, "watchdog_expired")


def test_who_says_that_all_is_well_is_waited_for_again(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, watchdog=3000) as speaker:
        speaker.says("READY=1")
        keeper.of(speaker.generation, "ready")
        keeper.pump(0.5)
        keeper.answers()
        before = [event["at"] for event in keeper.events if event["t"] == "snapshot_end"][-1]
        speaker.says("WATCHDOG=1")
        assert keeper.of(speaker.generation, "watchdog_expired")["at"] >= before + 3 * SECOND


def test_a_worker_may_say_itself_that_something_is_wrong(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, watchdog=FOREVER) as speaker:
        speaker.says("READY=1", "WATCHDOG=trigger")
        assert keeper.of(speaker.generation, "watchdog_expired")["silence"] == 0


def test_a_worker_may_change_how_long_it_is_waited_for_but_not_whether(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, watchdog=FOREVER) as watched, Speaker(keeper, tmp_path, "w.2") as free:
        free.says("READY=1", "WATCHDOG_USEC=1000", "WATCHDOG=trigger")
        watched.says("READY=1", "WATCHDOG_USEC=1000")
        assert keeper.of(watched.generation, "watchdog_expired")["silence"] == 1
        throughout(0.2, lambda: not expiries(keeper, free.generation), "nobody watches it")


def test_who_is_leaving_has_a_deadline_instead_of_a_watchdog(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, "w.1", "--ignore-term", watchdog=300) as speaker:
        speaker.says("READY=1")
        keeper.of(speaker.generation, "ready")
        keeper.stop(speaker.generation, grace=600)
        keeper.of(speaker.generation, "gone")
        assert expiries(keeper, speaker.generation) == []


def test_an_expiry_is_told_again_with_the_next_snapshot(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, watchdog=1) as speaker:
        speaker.says("READY=1")
        keeper.of(speaker.generation, "watchdog_expired")
        before = len(keeper.events)
        keeper.answers()
        again = {"t": "watchdog_expired", "generation": speaker.generation}
        keeper.wait(lambda e: e in keeper.events[before:] and again.items() <= e.items(), "it again")


# --- more time at the end


def test_who_is_leaving_may_ask_for_more_time_but_not_for_more_than_again(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, "w.1", "--ignore-term") as speaker:
        keeper.stop(speaker.generation, grace=1000)
        first = keeper.of(speaker.generation, "stopping")
        speaker.says("EXTEND_TIMEOUT_USEC=1", "EXTEND_TIMEOUT_USEC=3600000000")
        later = keeper.wait(lambda e: e["t"] == "stopping" and e["deadline"] > first["deadline"], "a later deadline")
        assert later["deadline"] == first["deadline"] + SECOND
        speaker.says("EXTEND_TIMEOUT_USEC=3600000000")
        gone = keeper.of(speaker.generation, "gone")
        assert gone["at"] >= later["deadline"]
        assert keeper.kinds(speaker.generation).count("stopping") == 2


def test_a_fast_stop_cannot_be_put_off(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, "w.1", "--ignore-term") as speaker:
        keeper.stop(speaker.generation, grace=FOREVER)
        speaker.says("EXTEND_TIMEOUT_USEC=7200000000")
        keeper.stop(speaker.generation, grace=0)
        keeper.of(speaker.generation, "gone")


# --- a line of output


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def line(keeper: Keeper, script: str, pattern: str, **more: Any) -> int:
    return keeper.spawn(shell(script), ready="line", ready_line=pattern, **more)


@pytest.mark.parametrize("where", ["", " >&2"])
def test_a_line_makes_ready(keeper: Keeper, where: str) -> None:
    generation = line(keeper, f"echo starting; echo 'listening on port 80'{where}; exec sleep 1000", r"on port \d+$")
    found = keeper.of(generation, "ready")
    assert keeper.answers()[0]["ready"] == found["at"]
    assert keeper.kinds(generation) == ["executing", "ready"]


def test_only_a_whole_line_counts(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, ready="line", ready_line="^ready$") as speaker:
        for text in ("not ready", "ready or not", "re", "ady"):
            speaker.says(f"say {text}")
        keeper.answers()
        assert keeper.kinds(speaker.generation) == ["executing"]
        speaker.says("say ready")
        keeper.of(speaker.generation, "ready")


def test_a_line_in_two_pieces_is_a_line(keeper: Keeper) -> None:
    generation = line(keeper, "printf 'rea'; sleep 0.2; printf 'dy\\n'; exec sleep 1000", "^ready$")
    keeper.of(generation, "ready")


def test_a_line_of_a_terminal_is_a_line(keeper: Keeper) -> None:
    generation = line(keeper, "echo ready; exec sleep 1000", "^ready$", tty=True)
    keeper.of(generation, "ready")


def test_the_last_words_count(keeper: Keeper) -> None:
    generation = line(keeper, "echo ready", "^ready$")
    keeper.of(generation, "gone")
    assert keeper.kinds(generation) == ["executing", "ready", "exited", "gone"]


def test_no_line_is_looked_at_after_the_one(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, ready="line", ready_line="ready") as speaker:
        speaker.says("say ready", "say ready")
        keeper.of(speaker.generation, "ready")
        speaker.says("say ready", "STATUS=said")
        keeper.of(speaker.generation, "reported")
        assert keeper.kinds(speaker.generation).count("ready") == 1


def test_what_is_looked_for_can_change_while_a_worker_runs(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, ready="line", ready_line="never") as speaker:
        about = {"worker": "w.1", "generation": speaker.generation, "stop": {"signal": 15, "grace": 5000}}
        keeper.send({"t": "configure", **about, "ready": "line", "ready_line": "up"})
        keeper.answers()
        speaker.says("say up")
        keeper.of(speaker.generation, "ready")


def test_what_is_no_pattern_is_refused_and_says_why(keeper: Keeper) -> None:
    generation = line(keeper, "exec sleep 1000", "(up")
    assert "unclosed group" in keeper.of(generation, "refused")["why"]


def test_a_line_among_much_output_is_found(keeper: Keeper) -> None:
    generation = line(keeper, "seq 200000; exec sleep 1000", "^150000$")
    keeper.of(generation, "ready")
