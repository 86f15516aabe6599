"""Who is asked when, and what follows from the answers: on a virtual clock, with scripted workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from procq.endings import Doom, ExitStatus, SpawnFailure
from procq.engine.port import Command, MarkWorkerReady, ProbeWorker
from procq.events import BecameReady, Condemned, Probed
from procq.intent import restart
from procq.model import CommandCheck, Health, HttpCheck, Manifest, Queue, Readiness, TcpCheck, WorkerId
from procq.monitor.answers import Answer
from procq.monitor.prober import Prober
from procq.state import Running
from procq.targets import resolve
from procq.testing.rig import Rig
from procq.testing.script import Script, everyone
from tests.queues import EMAILS_1, EMAILS_2, manifest, queue
from tests.unit.monitor.virtual import Heard, nothing, play

GOOD, BAD = Answer(True, "http 200 from http://a/"), Answer(False, "http 503 from http://a/")
EVERY_10 = Health(HttpCheck("http://a/"), every=10.0, timeout=5.0, failures=3)


class Asked:
    """Answers questions, and remembers them. `answer` says what to, `takes` how long that takes."""

    def __init__(self, rig: Rig, answer: Callable[[WorkerId, float], Answer] = lambda worker, now: GOOD) -> None:
        self._rig = rig
        self._answer = answer
        self.takes = 0.0
        self.at: list[tuple[WorkerId, float]] = []
        self.checks: list[TcpCheck | HttpCheck] = []
        self.open = self.most_open = 0
        self.open_of: list[WorkerId] = []

    async def __call__(self, check: TcpCheck | HttpCheck, worker: WorkerId, timeout: float) -> Answer:
        now = self._rig.clock.now
        assert worker not in self.open_of, "asked while the question before is open"
        self.at.append((worker, now))
        self.checks.append(check)
        self.open += 1
        self.open_of.append(worker)
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.open -= 1
            self.open_of.remove(worker)
        return self._answer(worker, now)


def asked_queue(workers: int = 1, health: Health | None = EVERY_10, ready: Readiness | None = None) -> Queue:
    return replace(queue(workers=workers), health=health, ready=ready or Readiness())


def rig_of(wanted: Manifest | Queue, script: Script | None = None) -> Rig:
    wanted = wanted if isinstance(wanted, Manifest) else manifest(wanted)
    return Rig(wanted, everyone(script or Script()))


def condemned(rig: Rig, asked: Asked, seconds: float) -> list[Condemned]:
    heard = Heard(rig)
    play(rig, Prober(rig.engine, ask=asked).run(), (seconds, nothing))
    return heard.of(Condemned)


# --- readiness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [TcpCheck(6379), HttpCheck("http://a/ready")])
def test_a_worker_is_ready_soon_after_its_port_or_url_is(check: TcpCheck | HttpCheck) -> None:
    rig = rig_of(asked_queue(health=None, ready=Readiness(check)), Script(ready_after=1e9))
    opens = rig.clock.now + 3.0
    asked, heard = Asked(rig, lambda worker, now: GOOD if now >= opens else BAD), Heard(rig)
    play(rig, Prober(rig.engine, ask=asked).run(), (5.0, nothing))
    (found,) = heard.of(BecameReady)
    assert opens <= found.at <= opens + 1.0
    assert [c for c in rig.keeper.commands if isinstance(c, MarkWorkerReady)] == [MarkWorkerReady(EMAILS_1, 1)]
    waits = [b - a for (_, a), (_, b) in zip(asked.at, asked.at[1:], strict=False)]
    assert waits[0] == pytest.approx(0.05)
    assert waits == sorted(waits)
    assert asked.at[-1][1] == found.at, "nobody is asked twice"


def test_who_is_to_be_replaced_for_not_being_ready_is_not_asked_any_more() -> None:
    ready = Readiness(TcpCheck(1), timeout=3.0)
    rig = rig_of(asked_queue(health=None, ready=ready), Script(ready_after=1e9, leave_after=30.0))
    asked = Asked(rig, lambda worker, now: BAD)
    play(rig, Prober(rig.engine, ask=asked).run(), (8.0, nothing))
    # A question of the same moment may have been on its way.
    assert asked.at[-1][1] <= 1000.0 + 3.0 + 1.0


# --- health -----------------------------------------------------------------------------------------------------------


def test_three_bad_answers_in_a_row_condemn_with_the_last_one() -> None:
    rig = rig_of(asked_queue())
    bad_from = rig.clock.now + 35.0
    (found,) = condemned(rig, Asked(rig, lambda worker, now: BAD if now >= bad_from else GOOD), 70.0)
    assert (found.worker, found.generation, found.why) == (EMAILS_1, 1, Doom.UNHEALTHY)
    assert found.detail == "http 503 from http://a/, 3 times in a row"
    assert bad_from + 20.0 <= found.at <= bad_from + 30.0


def test_a_good_answer_between_bad_ones_saves() -> None:
    rig = rig_of(asked_queue())
    answers = iter([BAD, BAD, GOOD] * 20)
    assert condemned(rig, Asked(rig, lambda worker, now: next(answers)), 300.0) == []


def test_only_ready_workers_are_asked() -> None:
    rig = rig_of(asked_queue(ready=Readiness(TcpCheck(1), timeout=100.0)), Script(ready_after=1e9))
    asked = Asked(rig, lambda worker, now: BAD)
    assert condemned(rig, asked, 90.0) == []


def test_faults_43_workers_are_not_asked_all_at_once() -> None:
    rig = rig_of(asked_queue(workers=200))
    asked = Asked(rig)
    play(rig, Prober(rig.engine, ask=asked).run(), (10.0, nothing))
    assert len(asked.at) == 200
    in_a_second = [int(at) for _, at in asked.at]
    assert max(in_a_second.count(second) for second in set(in_a_second)) < 45


def test_a_slow_answer_never_overlaps_the_next_question_of_the_same_worker() -> None:
    rig = rig_of(asked_queue(health=replace(EVERY_10, every=1.0)))
    asked = Asked(rig)
    asked.takes = 4.5
    play(rig, Prober(rig.engine, ask=asked).run(), (60.0, nothing))
    assert asked.most_open == 1
    waits = [b - a for (_, a), (_, b) in zip(asked.at, asked.at[1:], strict=False)]
    assert waits == [pytest.approx(5.0)] * 11


def test_so_many_questions_are_open_at_once_and_no_more() -> None:
    rig = rig_of(asked_queue(workers=50))
    asked = Asked(rig)
    asked.takes = 5.0
    play(rig, Prober(rig.engine, ask=asked, sockets=7).run(), (30.0, nothing))
    assert asked.most_open == 7


def test_faults_56_a_late_answer_condemns_nobody_who_has_come_meanwhile() -> None:
    rig = rig_of(asked_queue(health=replace(EVERY_10, every=10.0, failures=1)))
    asked, heard = Asked(rig, lambda worker, now: BAD), Heard(rig)
    asked.takes = 4.0

    restarted: list[float] = []

    def restart_it() -> None:
        if asked.open and not restarted:
            restarted.append(rig.clock.now)
            found = resolve(rig.engine.snapshot(), ["emails"])
            rig.engine.change(lambda wanted: restart(wanted, found, rig.engine.last_generation), "test")

    play(rig, Prober(rig.engine, ask=asked).run(), *[(0.5, restart_it)] * 21, (5.0, nothing))
    assert restarted
    state = rig.engine.snapshot().worker(EMAILS_1)
    assert isinstance(state, Running)
    assert state.generation > 1
    assert state.doomed is None
    assert [found for found in heard.of(Condemned) if found.generation == state.generation] == []


def test_changed_settings_hold_at_once_and_touch_no_worker() -> None:
    rig = rig_of(asked_queue(health=replace(EVERY_10, every=3600.0)))
    asked = Asked(rig)

    def adopt(health: Health | None) -> Callable[[], None]:
        return lambda: rig.adopt(manifest(asked_queue(health=health)))

    counts: list[int] = []
    play(
        rig,
        Prober(rig.engine, ask=asked).run(),
        (1.0, adopt(replace(EVERY_10, every=1.0))),
        (10.0, lambda: counts.append(len(asked.at))),
        (0.0, adopt(None)),
        (50.0, lambda: counts.append(len(asked.at))),
    )
    assert 9 <= counts[0] <= 11
    assert counts[1] == counts[0]
    state = rig.engine.snapshot().worker(EMAILS_1)
    assert isinstance(state, Running)
    assert state.generation == 1


def test_who_is_to_be_replaced_is_asked_what_it_has_promised() -> None:
    """The next program has another address: the old one, which works and waits for its turn, would be condemned."""
    rig = rig_of(replace(asked_queue(workers=2), command="old", argv=("old",)))
    asked = Asked(rig, lambda worker, now: GOOD)
    new = replace(EVERY_10, check=HttpCheck("http://localhost/healthz"), every=1.0)
    rig.keeper.casting = lambda *_: Script(run_for=0.1, exit_code=1)

    def save() -> None:
        rig.adopt(manifest(replace(asked_queue(workers=2, health=new), command="new", argv=("new",))))

    play(rig, Prober(rig.engine, ask=asked).run(), (15.0, save), (60.0, nothing))
    old = [s for s in rig.engine.snapshot().queue("emails").workers.values() if isinstance(s, Running)]
    assert len(old) == 1, "halted: the other one has failed"
    assert len(asked.checks) > 5
    assert new.check not in asked.checks


def test_nobody_is_asked_during_a_shutdown() -> None:
    rig = rig_of(asked_queue(workers=2, health=replace(EVERY_10, every=0.5)), Script(leave_after=30.0))
    asked = Asked(rig)
    counts: list[int] = []
    play(
        rig,
        Prober(rig.engine, ask=asked).run(),
        (3.0, lambda: rig.keeper.shut_down("test", fast=False)),
        (0.001, lambda: counts.append(len(asked.at))),
        (5.0, lambda: counts.append(len(asked.at))),
    )
    assert counts[0] > 0
    assert counts[1] == counts[0]


def test_another_control_plane_goes_on_asking() -> None:
    ready = Readiness(TcpCheck(1))
    rig = rig_of(asked_queue(ready=ready), Script(ready_after=0.5))
    rig.advance(2.0)
    rig.replace_control_plane()
    asked = Asked(rig, lambda worker, now: BAD)
    (found,) = condemned(rig, asked, 35.0)
    assert found.generation == 1


# --- commands ---------------------------------------------------------------------------------------------------------

COMMAND = replace(EVERY_10, check=CommandCheck("./healthy 'a b'", ("./healthy", "a b")))


class Commands:
    """In front of a fake keeper: answers probes with `outcomes`, one after another, the last one again and again."""

    def __init__(self, rig: Rig, *outcomes: ExitStatus | SpawnFailure | None, output: str = "") -> None:
        self.probes: list[ProbeWorker] = []
        self._outcomes = list(outcomes)
        self._output = output
        self._send = rig.keeper.send
        self._rig = rig
        rig.keeper.send = self.send  # type: ignore[method-assign]

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, ProbeWorker):
                self.probes.append(command)
                self._rig.keeper.commands.append(command)
                outcome = self._outcomes[0] if len(self._outcomes) == 1 else self._outcomes.pop(0)
                if outcome != ExitStatus(99):
                    self._rig.keeper._tell(Probed(command.worker, command.generation, outcome, self._output))
            else:
                self._send([command])


def test_a_command_runs_for_its_worker_and_its_end_is_the_answer() -> None:
    rig = rig_of(asked_queue(health=COMMAND))
    commands = Commands(rig, ExitStatus(0), ExitStatus(2), output="looking\nno connection\n\n")
    (found,) = condemned(rig, Asked(rig), 45.0)
    assert found.detail == "`./healthy 'a b'` ended with exit code 2: no connection, 3 times in a row"
    first = commands.probes[0]
    assert (first.worker, first.argv, first.timeout) == (EMAILS_1, ("./healthy", "a b"), 5.0)
    generations = [probe.generation for probe in commands.probes]
    assert len(set(generations)) == len(generations)
    assert 1 not in generations


def test_a_command_that_takes_too_long_is_a_bad_answer() -> None:
    rig = rig_of(asked_queue(health=replace(COMMAND, failures=1)))
    Commands(rig, None)
    (found, *_) = condemned(rig, Asked(rig), 15.0)
    assert found.detail == "`./healthy 'a b'` did not end within 5s"


@pytest.mark.parametrize("transient", [True, False])
def test_a_command_that_cannot_run_costs_no_worker_and_is_told_once(transient: bool) -> None:
    rig = rig_of(asked_queue(workers=2, health=replace(COMMAND, failures=1)))
    Commands(rig, SpawnFailure("exec", 2, "./healthy", transient))
    heard, told = Heard(rig), []
    prober = Prober(rig.engine, lambda worker, text: told.append((worker, text)))
    play(rig, prober.run(), (100.0, nothing))
    assert heard.of(Condemned) == []
    text = 'its health cannot be asked: cannot execute "./healthy": No such file or directory'
    assert sorted(told) == [(EMAILS_1, text), (EMAILS_2, text)]


def test_news_of_a_command_that_never_come_are_no_answer_and_do_not_stop_the_questions() -> None:
    rig = rig_of(asked_queue(health=replace(COMMAND, failures=1)))
    commands = Commands(rig, ExitStatus(99), ExitStatus(99), ExitStatus(1))
    (found, *_) = condemned(rig, Asked(rig), 60.0)
    assert len(commands.probes) >= 3
    assert "exit code 1" in found.detail


def test_so_many_commands_run_at_once_and_no_more() -> None:
    rig = rig_of(asked_queue(workers=20, health=COMMAND))
    commands = Commands(rig, ExitStatus(99))
    play(rig, Prober(rig.engine, commands=3).run(), (14.0, nothing))
    assert len(commands.probes) == 3
