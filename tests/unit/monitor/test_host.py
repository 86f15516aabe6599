"""What the machine bears: budgets that are shared, and pressure that is heeded, by queues that follow their load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from procq.meter import Used
from procq.model import Manifest, WorkerId
from procq.monitor.host import Host
from procq.monitor.scaler import Scaler
from procq.rules import Claim, Guard
from procq.scaling.guard import Pressure
from procq.scaling.reading import Reading
from procq.testing.script import Casting, Script, everyone, exits, runs, works
from tests.queues import manifest, queue
from tests.unit.monitor.test_scaler import Trial, scaled

MIB = 1 << 20


class Machine(Trial):
    """A trial whose pressure is written out, and that hears what the machine cannot tell."""

    def __init__(self, wanted: Manifest, casting: Casting | None = None) -> None:
        self.pressure = Pressure(0.0, 0.0, 0.8, 0.1)
        self.memory = MIB
        self.told: list[str] = []
        super().__init__(*wanted.queues.values(), casting=casting)
        self.rig.adopt(wanted)

    def _scaler(self) -> Scaler:
        host = Host(self._read, lambda: self.pressure, self.told.append)
        return Scaler(self.rig.engine, host, sources=self.broker, wall=lambda: self.began + self.rig.clock.now)

    def _read(self, roots: Sequence[tuple[int, int]]) -> list[Used]:
        return [(0.0, self.memory, 1, 1) for _ in roots]

    def short(self, name: str = "emails") -> str:
        return self.scaler.standings(self.rig.clock.now)[name].short


def test_memory_is_shared_by_what_workers_claim_and_take() -> None:
    emails = replace(scaled(), claim=Claim(memory=100 * MIB))
    thumbs = replace(scaled("thumbs"), claim=Claim(memory=200 * MIB))
    # A worker of a queue that does not scale takes 1 MiB, as is seen.
    machine = Machine(replace(manifest(emails, thumbs, queue("cron", 2)), memory=602 * MIB))
    machine.broker.says.update(emails=Reading(50, 0), thumbs=Reading(50, 0))
    machine.play((40.0, lambda: None))
    got = machine.alive("emails"), machine.alive("thumbs")
    assert got[0] * 100 + got[1] * 200 in (500, 600)
    assert got[1] >= 1
    assert "memory budget" in machine.short("emails") + machine.short("thumbs")


def test_who_is_there_stays_while_it_is_measured_to_take_a_little_more() -> None:
    machine, seen = Machine(replace(manifest(scaled(most=8)), memory=405 * MIB), everyone(works(1.0))), []
    machine.memory = 100 * MIB
    machine.broker.says["emails"] = Reading(500, 8)

    def take(memory: int) -> tuple[float, object]:
        return 0.0, lambda: setattr(machine, "memory", memory * MIB)

    look = (180.0, lambda: seen.append(machine.alive()))
    machine.play(look, take(108), look, take(115), look, take(110), look, take(100), look)
    assert seen == [4, 4, 3, 3, 4]


def test_what_somebody_has_said_that_it_takes_is_kept_to() -> None:
    emails = replace(scaled(most=8), claim=Claim(memory=100 * MIB))
    machine, seen = Machine(replace(manifest(emails), memory=405 * MIB), everyone(works(1.0))), []
    machine.broker.says["emails"] = Reading(500, 8)
    look = (60.0, lambda: seen.append(machine.alive()))
    machine.play(look, (0.0, lambda: machine.rig.adopt(replace(manifest(emails), memory=395 * MIB))), look)
    assert seen == [4, 3]


def test_a_higher_priority_gets_what_it_wants_first() -> None:
    first = replace(scaled("first", most=6), claim=Claim(priority=1))
    machine = Machine(replace(manifest(scaled(most=6), first), budget=8))
    machine.broker.says.update(emails=Reading(50, 0), first=Reading(50, 0))
    machine.play((40.0, lambda: None))
    assert (machine.alive("first"), machine.alive("emails")) == (6, 2)
    assert machine.short("emails") == "wants 6, has 2: worker budget"
    assert machine.short("first") == ""


def test_workers_that_speak_make_room_for_a_higher_priority_between_two_jobs() -> None:
    first = replace(scaled("first", most=6), claim=Claim(priority=1))
    machine, seen = Machine(replace(manifest(scaled(most=8), first), budget=8), everyone(works(3.0))), []
    machine.broker.says["emails"] = Reading(500, 8)

    def look() -> None:
        seen.append((machine.alive(), machine.alive("first"), machine.there()))

    machine.play(
        (20.0, look),
        (0.0, lambda: machine.broker.says.update(first=Reading(50, 0))),
        *((0.5, look) for _ in range(20)),
    )
    assert (seen[0], seen[-1]) == ((8, 0, 8), (2, 6, 8))
    assert max(there for _, _, there in seen) == 8, "nobody starts in the place of one who is still there"
    assert machine.rig.keeper.interrupted == []


def test_of_workers_that_say_nothing_nobody_who_is_busy_is_taken() -> None:
    first = replace(scaled("first", most=6), claim=Claim(priority=1))
    machine = Machine(replace(manifest(scaled(most=8), first), budget=8), everyone(runs()))
    machine.broker.says["emails"] = Reading(500, 8)
    machine.play(
        (20.0, lambda: None),
        (0.0, lambda: machine.broker.says.update(first=Reading(50, 0))),
        (60.0, lambda: None),
    )
    assert (machine.alive(), machine.alive("first")) == (8, 0)
    assert machine.short("first") == "wants 6, has 0: worker budget"


def test_a_program_that_cannot_work_takes_one_worker_of_others_and_no_more() -> None:
    first = replace(scaled("first", most=6), claim=Claim(priority=5))
    seen: list[int] = []
    said: list[str] = []
    broken = True

    def casting(worker: WorkerId, _generation: int) -> Script:
        return exits(1, after=0.3) if worker.queue == "first" and broken else works(1.0)

    def mend() -> None:
        nonlocal broken
        broken = False

    machine = Machine(replace(manifest(scaled(most=8), first), budget=4), casting)
    machine.broker.says.update(emails=Reading(500, 4), first=Reading(50, 0))
    look = lambda: seen.append(machine.alive())  # noqa: E731
    machine.play(
        (30.0, look),
        *((1.0, look) for _ in range(120)),
        (0.0, lambda: said.append(machine.short("first"))),
        (0.0, mend),
        (120.0, look),
    )
    assert set(seen[:-1]) == {3}
    assert said == ["wants 6, has 1: worker budget; its workers fail, so that others come first"]
    assert (machine.alive("first"), machine.alive()) == (4, 0), "what works again counts in full"


def test_under_pressure_nothing_is_started_and_nobody_who_works_is_stopped() -> None:
    machine, seen = Machine(replace(manifest(scaled()), guard=Guard())), []
    machine.broker.says["emails"] = Reading(0, 3)

    def press() -> None:
        machine.pressure = Pressure(0.9, 0.0, 0.8, 0.1)
        machine.broker.says["emails"] = Reading(40, 3)

    machine.play(
        (5.0, lambda: machine.rig.engine.rescale({"emails": 3}, {})),
        (10.0, press),
        (60.0, lambda: seen.append((machine.alive(), machine.short()))),
        (0.0, lambda: setattr(machine, "pressure", Pressure(0.0, 0.0, 0.8, 0.1))),
        (120.0, lambda: seen.append((machine.alive(), machine.short()))),
    )
    assert seen[0] == (3, "amber: processes wait for a processor for 90% of the time")
    assert seen[1][0] > 3


def test_when_memory_runs_out_workers_are_taken_away_down_to_the_least() -> None:
    machine, seen = Machine(replace(manifest(scaled(least=2)), guard=Guard())), []
    machine.broker.says["emails"] = Reading(40, 10)

    def press() -> None:
        machine.pressure = Pressure(0.0, 0.2, 0.01, 0.1)

    machine.play(
        (40.0, lambda: seen.append(machine.alive())),
        (0.0, press),
        (15.0, lambda: seen.append(machine.alive())),
        (300.0, lambda: seen.append(machine.alive())),
    )
    assert seen[0] == 10
    assert 2 < seen[1] < 10
    assert seen[2] == 2


def test_what_a_guard_cannot_see_is_told_once() -> None:
    machine = Machine(replace(manifest(scaled()), guard=Guard()))
    machine.pressure = Pressure(None, None, 0.8, 0.1)
    machine.play((30.0, lambda: None))
    (told,) = machine.told
    assert "PSI" in told
