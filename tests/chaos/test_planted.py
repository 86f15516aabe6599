"""The checker must be able to fail: each rule gets a course of things that breaks it, and one that does not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos import rules
from tests.chaos.cast import FOLDERS, PLAYER
from tests.chaos.ledger import Entry, Process, alive, numbers, parse
from tests.chaos.model import Act, Model
from tests.chaos.players import Players
from tests.process.support import processes
from tests.process.support.oracle import Oracle
from tests.process.support.waiting import until

KEY = ("lines.1", "i", 1)


def entries(*lines: str) -> list[Entry]:
    """`at pid worker what about`, of the instance `i`; the generation is the pid."""
    found = []
    for line in lines:
        at, pid, worker, *what = line.split(" ", 3)
        found += parse(f"{at} {pid} 1 {worker} i {pid} {what[0]}")
    return found


def model(*changes: tuple[float, int], acts: tuple[Act, ...] = ()) -> Model:
    """`at` which times how many workers of `jobs` were wanted."""
    made = Model({"jobs": 0})
    made.history = [(at, {"jobs": count}) for at, count in changes]
    made.acts = list(acts)
    return made


def test_two_generations_of_a_slot() -> None:
    assert rules.one_generation_a_slot(entries("1 11 jobs.1 born", "2 12 jobs.2 born")) == []
    assert rules.one_generation_a_slot(entries("1 11 jobs.1 born", "2 12 jobs.1 crowded", "2 12 jobs.1 born"))


@pytest.mark.parametrize("second", [11, 10])
def test_a_generation_that_does_not_grow(second: int) -> None:
    assert rules.generations_grow(entries("1 11 jobs.1 born", "2 12 jobs.1 born")) == []
    assert rules.generations_grow(entries("1 11 jobs.1 born", f"2 {second} jobs.1 born"))


def test_a_start_of_what_nobody_wants() -> None:
    late = 2 + rules.DELAY
    course = entries(f"{late} 11 jobs.2 born")
    assert rules.only_wanted_ones_begin(course, model((1, 1), (1.5, 2), (3, 1))) == [], "wanted a moment ago"
    assert rules.only_wanted_ones_begin(course, model((1, 2), (1.5, 1)))
    assert rules.only_wanted_ones_begin(course, model((1, 2), (1.5, 0), (late + 1, 2))), "wanted only later"


def test_a_restart_for_no_reason() -> None:
    course = entries("100 11 jobs.1 born", "150 11 jobs.1 asked 15")
    other, long_ago, now = Act(149, 149, "", "lines"), Act(100, 100, "", "jobs"), Act(149, 149, "restart", "jobs")
    assert rules.nobody_is_asked_without_a_reason(course, model(acts=(other, now))) == []
    assert rules.nobody_is_asked_without_a_reason(course, model(acts=(Act(149, 149, "down", "*"),))) == []
    assert rules.nobody_is_asked_without_a_reason(course, model(acts=(other, long_ago)))


def test_a_worker_that_somebody_killed() -> None:
    course = entries("1 11 jobs.1 born")
    process = course[0].process
    assert rules.nobody_dies_unasked(course, {}, {process}, set()) == []
    assert rules.nobody_dies_unasked(course, {process: 2.0}, set(), set()) == []
    assert rules.nobody_dies_unasked(course, {}, set(), {"i"}) == []
    assert "without being asked" in rules.nobody_dies_unasked(course, {}, set(), set())[0]


def test_a_worker_that_was_killed_before_its_grace_was_over() -> None:
    course = entries("1 11 jobs.1 born", "2 11 jobs.1 asked 15")
    assert "within its grace period" in rules.nobody_dies_unasked(course, {}, set(), set())[0]
    assert rules.nobody_dies_unasked([*course, *entries("3 11 jobs.1 left 0")], {}, set(), set()) == []


@pytest.mark.parametrize(
    ("written", "progress", "hard", "wrong"),
    [
        ([0, 1, 2], 3, False, None),
        ([0, 1, 2, 3], 3, False, None),
        ([0, 1, 1, 2], 3, False, "twice"),
        ([0, 2], 3, False, "lost"),
        ([1, 2], 3, False, "lost"),
        ([0, 1], 3, False, "lost at the end"),
        ([0, 1], 3, True, None),
        ([0, 2], 3, True, "lost"),
        ([], 1, False, "lost at the end"),
    ],
)
def test_lines(written: list[int], progress: int, hard: bool, wrong: str | None) -> None:
    found = rules.lines_are_complete({KEY: written} if written else {}, {KEY: progress}, {"i"} if hard else set())
    assert (wrong is None) == (found == []), found
    assert wrong is None or wrong in found[0]


def test_lines_out_of_order_and_torn_ones(tmp_path: Path) -> None:
    file = tmp_path / "lines-1.log"
    file.write_text("lines.1/i/1 0\nlines.1/i/1 2\nlines.1/i/1 1\n")
    written, wrong = numbers([file])
    assert wrong == []
    assert rules.lines_are_in_order(written)
    file.write_text("lines.1/i/1 0\nlines.1/i/1 1lines.1/i/1 2\nlines.1/i")
    assert len(numbers([file])[1]) == 2
    assert len(numbers([file], may_be_torn=True)[1]) == 1


def test_a_job_that_is_begun_twice() -> None:
    twice = entries("1 11 jobs.1 took 7", "2 12 jobs.2 took 7")
    assert rules.jobs_are_done_once(twice, {twice[0].process: 1.5}, set()) == []
    assert rules.jobs_are_done_once(twice, {}, set())
    assert rules.jobs_are_done_once(entries("1 11 jobs.1 took 7", "2 11 jobs.1 did 7", "3 12 jobs.2 took 7"), {}, set())
    assert rules.jobs_are_done_once([*twice, *entries("3 11 jobs.1 did 7")], {twice[0].process: 1.5}, set())


def test_a_job_that_is_lost() -> None:
    course = entries("1 11 jobs.1 took 7")
    process = course[0].process
    assert rules.jobs_are_not_lost(course, {process: 1.0}, set(), set()) == []
    assert rules.jobs_are_not_lost(course, {}, {process}, set()) == []
    assert rules.jobs_are_not_lost(course, {}, set(), set())


def test_statuses() -> None:
    course = entries("1 11 crash.1 born", "2 11 crash.1 ends 7")
    killed: dict[Process, float] = {(11, 1): 2.0}
    assert rules.statuses_are_right([("crash.1", 11, "exit code 7")], course, {}) == []
    assert rules.statuses_are_right([("crash.1", 11, "SIGKILL")], course, killed) == []
    assert rules.statuses_are_right([("crash.1", 11, "SIGKILL")], course, {})
    assert rules.statuses_are_right([("crash.1", 11, "exit code 8")], course, killed)


def test_an_end_that_nobody_heard_of() -> None:
    course = entries("1 11 crash.1 born", "20 11 crash.1 ends 7")
    assert rules.every_end_is_told([("crash.1", 11, "exit code 7")], course, []) == []
    assert rules.every_end_is_told([], course, [(19, 21)]) == []
    assert rules.every_end_is_told([], course, [(21, 22)])


def test_who_lives_at_rest() -> None:
    course = entries("1 11 jobs.1 born", "1 12 jobs.2 born", "1 13 crash.2 born")
    living = {e.process for e in course}
    assert rules.who_lives_is_wanted(course, living, {"jobs": 2, "crash": 2}) == [], "who crashes may be missing"
    assert rules.who_lives_is_wanted(course, living, {"jobs": 1, "crash": 2}), "one too many"
    assert rules.who_lives_is_wanted(course, living, {"jobs": 3, "crash": 2}), "one too few"
    assert rules.who_lives_is_wanted(course, living, {"jobs": 2, "crash": 1}), "nobody wants that one"
    doubled = [*course, *entries("2 14 jobs.1 born", "2 15 crash.2 born")]
    living = {e.process for e in doubled}
    assert len(rules.who_lives_is_wanted(doubled, living, {"jobs": 2, "crash": 2})) == 2


# --- with real players ------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    return tmp_path


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def player(stage: Path, oracle: Oracle) -> Iterator[Start]:
    """Starts players that nobody supervises; what is left of them in the end is planted, and is taken away."""
    with ExitStack() as started:

        def start(role: str, generation: int = 1, *more: str) -> subprocess.Popen[bytes]:
            environment = {
                "PROCQ_WORKER_ID": f"{role}.1",
                "PROCQ_INSTANCE": "i",
                "PROCQ_GENERATION": str(generation),
                processes.COOKIE: oracle.cookie,
            }
            command = [sys.executable, "-I", "-S", str(PLAYER), str(stage), role, *more]
            log = started.enter_context(open(stage / f"{role}.log", "ab"))
            process = started.enter_context(subprocess.Popen(command, env=environment, stdout=log))
            started.callback(process.kill)
            return process

        yield start
        oracle.clean_up()


def wait_for(stage: Path, what: str) -> Players:
    players = Players(stage)

    def noted() -> bool:
        players.look()
        return any(e.what == what for e in players.entries)

    until(noted, f"{what} in the ledger")
    return players


@pytest.mark.process
def test_a_real_second_generation_is_noticed_by_itself(stage: Path, player: Start) -> None:
    player("stubborn")
    player("stubborn", 2)
    wait_for(stage, "crowded")
    assert rules.one_generation_a_slot(parse((stage / "ledger").read_text()))


@pytest.mark.process
def test_a_real_daemon_of_the_former_generation_is_noticed(stage: Path, player: Start) -> None:
    first = player("daemon")
    assert wait_for(stage, "daemon").daemons()
    first.kill()
    first.wait()
    player("daemon", 2)
    wait_for(stage, "crowded")
    until(lambda: len(wait_for(stage, "daemon").daemons()) == 2, "the second daemon")


@pytest.mark.process
@pytest.mark.parametrize("planted", [True, False])
def test_a_real_line_that_is_written_twice(stage: Path, player: Start, planted: bool) -> None:
    process = player("lines", 1, *(["--twice", "5"] if planted else []))
    wait_for(stage, "born")
    until(lambda: (stage / "lines.log").read_bytes().count(b"\n") > 10, "some lines")
    process.terminate()
    process.wait()
    written, wrong = numbers([stage / "lines.log"])
    assert wrong == []
    progress = {key: int((stage / "progress" / "lines.1-i-1").read_bytes()) for key in written}
    assert (rules.lines_are_complete(written, progress, set()) != []) == planted


@pytest.mark.process
def test_a_real_kill_in_the_middle_of_a_job(stage: Path, player: Start) -> None:
    (stage / "todo" / "00000001").touch()
    process = player("jobs")
    players = wait_for(stage, "took")
    (born,) = (e for e in players.entries if e.what == "born")
    assert alive(born.process)
    process.kill()
    process.wait()
    players.look()
    living = players.living()
    assert living == set()
    assert rules.jobs_are_not_lost(players.entries, {}, living, set())
    assert rules.nobody_dies_unasked(players.entries, {}, living, set())
    assert rules.jobs_are_not_lost(players.entries, {born.process: time.monotonic()}, living, set()) == []


def test_every_rule_has_its_planted_violation() -> None:
    """By name: a new rule needs a test here."""
    named: dict[str, Callable[..., list[str]]] = {
        name: rule for name, rule in vars(rules).items() if callable(rule) and rule.__module__ == rules.__name__
    }
    tests = Path(__file__).read_text()
    assert [name for name in named if name != "words" and f"rules.{name}(" not in tests] == []
