"""Seeded random lives: crashes, failing spawns, edits, commands, lost events, control planes that die.

After each thing that happens the invariants are checked; after the storm everything must be as wanted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from procq.engine.port import SpawnWorker
from procq.intent import ScaleTo, restart, scale, start, stop
from procq.model import GiveUp, Manifest, Queue, RestartPolicy, RestartWhen, StopPolicy, WorkerId
from procq.state import Dead, Running
from procq.testing import NOT_FOUND, TOO_MANY_PROCESSES, Rig, Script

NAMES: Final = ("emails", "thumbs", "reports")
SCRIPTS: Final = (
    Script(),
    Script(),
    Script(run_for=0.3, exit_code=1),
    Script(run_for=2.0),
    Script(kill_after=1.0),
    Script(ignore_term=True),
    Script(linger=0.5),
    Script(start_error=NOT_FOUND),
    Script(start_error=TOO_MANY_PROCESSES),
)


class Storm:
    """One seeded life. `seed` and the number of the step tell how to see a failure again."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.calm = False
        self.rig = Rig(self.manifest(), self.cast)
        self.spawned: set[int] = set()
        self.seen = 0

    def cast(self, _worker: WorkerId, _generation: int) -> Script:
        return Script() if self.calm else self.random.choice(SCRIPTS)

    def manifest(self) -> Manifest:
        names = [name for name in NAMES if self.random.random() < 0.8]
        return Manifest("storm", {name: self.queue(name) for name in names})

    def queue(self, name: str) -> Queue:
        command = self.random.choice(("work", "work hard"))
        return Queue(
            name,
            command,
            tuple(command.split()),
            workers=self.random.randint(0, 4),
            stop=StopPolicy(grace=self.random.choice((0.1, 2.0))),
            restart=RestartPolicy(self.random.choice(list(RestartWhen))),
        )

    def step(self) -> None:
        happenings: tuple[Callable[[], object], ...] = (
            lambda: self.rig.advance(self.random.uniform(0, 3)),
            lambda: self.rig.advance(self.random.uniform(0, 0.01)),
            lambda: self.rig.engine.adopt(self.manifest(), "edit"),
            self.command,
            self.kill,
            self.rig.replace_control_plane,
            self.lose,
        )
        self.random.choice(happenings)()
        self.check()

    def command(self) -> None:
        engine = self.rig.engine
        assert engine.intent is not None
        names = list(engine.intent.manifest.queues)
        if not names:
            return
        name = self.random.choice(names)
        target = self.random.choice((name, WorkerId(name, self.random.randint(1, 4))))
        verb = self.random.choice(("scale", "stop", "start", "restart"))
        match verb:
            case "scale":
                engine.change(lambda i: scale(i, name, ScaleTo(self.random.randint(0, 5))), verb)
            case "stop":
                engine.change(lambda i: stop(i, [target]), verb)
            case "start":
                engine.change(lambda i: start(i, [target], engine.now), verb)
            case _:
                engine.change(lambda i: restart(i, [target], engine.last_generation), verb)

    def kill(self) -> None:
        alive = sorted(self.rig.keeper.alive())
        if alive:
            self.rig.keeper.kill(self.random.choice(alive))

    def lose(self) -> None:
        self.rig.keeper.losing = True
        self.rig.advance(self.random.uniform(0, 2))
        self.rig.keeper.resync()
        self.rig.settle()

    def check(self) -> None:
        """The keeper refused nothing (so no slot was used twice), no generation was used twice or went back."""
        assert self.rig.keeper.refusals == []
        for command in self.rig.keeper.commands[self.seen :]:
            if isinstance(command, SpawnWorker):
                assert command.generation > max(self.spawned, default=0)
                self.spawned.add(command.generation)
        self.seen = len(self.rig.keeper.commands)

    def pass_over(self) -> None:
        """No more faults; time passes; what runs is what is wanted."""
        self.calm = True
        engine = self.rig.engine
        assert engine.intent is not None
        names = list(engine.intent.manifest.queues)
        engine.change(lambda i: restart(i, names, engine.last_generation), "calm")
        self.rig.advance(60)
        view = engine.snapshot()
        assert view.intent is not None
        wanted = {
            WorkerId(q.name, slot)
            for q in view.intent.manifest.queues.values()
            for slot in range(1, view.intent.overrides.get(q.name, q.workers) + 1)
        }
        assert self.rig.keeper.alive().keys() == wanted
        assert all(isinstance(view.worker(worker), Running) for worker in wanted)


@pytest.mark.parametrize("seed", range(40))
def test_a_storm_ends_with_what_is_wanted(seed: int) -> None:
    storm = Storm(seed)
    for _ in range(40):
        storm.step()
    storm.pass_over()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 2000))
def test_long_storms(seed: int) -> None:
    storm = Storm(seed)
    for _ in range(200):
        storm.step()
    storm.pass_over()


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_spawned_once_the_shutdown_began(seed: int) -> None:
    """FAULTS 45: no reload, no command and no new control plane revives anything."""
    storm = Storm(seed)
    for _ in range(10):
        storm.step()
    storm.rig.keeper.shut_down("procq down")
    storm.rig.settle()
    spawned = len(storm.spawned)
    for _ in range(20):
        storm.step()
    storm.rig.advance(60)
    storm.check()
    assert len(storm.spawned) == spawned
    assert storm.rig.keeper.alive() == {}


def test_a_control_plane_that_dies_changes_nothing() -> None:
    """Workers, counters, overrides and stops are as before."""
    policy = RestartPolicy(give_up=GiveUp(5, 60.0))
    rig = Rig(Manifest("shop", {"emails": Queue("emails", "work", ("work",), workers=3, restart=policy)}))
    rig.engine.change(lambda i: stop(scale(i, "emails", ScaleTo(5)), [WorkerId("emails", 2)]), "test")
    rig.advance(5)
    rig.keeper.kill(WorkerId("emails", 1))
    rig.advance(5)
    before, alive = rig.engine.snapshot(), rig.keeper.alive()
    rig.replace_control_plane()
    rig.advance(5)
    after = rig.engine.snapshot()
    assert rig.keeper.alive() == alive
    assert after.intent == before.intent
    assert after.streak(WorkerId("emails", 1)) == before.streak(WorkerId("emails", 1))
    assert after.epoch == before.epoch + 1


def test_a_job_that_completed_is_not_run_again_by_the_next_control_plane() -> None:
    queue = Queue("once", "work", ("work",), restart=RestartPolicy(RestartWhen.NEVER))
    rig = Rig(Manifest("shop", {"once": queue}), lambda *_: Script(run_for=1))
    rig.advance(5)
    rig.replace_control_plane()
    rig.advance(5)
    assert isinstance(rig.engine.snapshot().worker(WorkerId("once", 1)), Dead)
    assert rig.keeper.last_generation == 1
    rig.adopt(Manifest("shop", {"once": replace(queue, argv=("work", "again"))}))
    assert rig.keeper.last_generation == 2
