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
from procq.intent import ScaleTo, desired_queue, restart, scale, start, stop
from procq.model import GiveUp, Manifest, Queue, RestartPolicy, RestartWhen, Share, StopPolicy, UpdatePolicy, WorkerId
from procq.plan import plan
from procq.plan.rollout import surge
from procq.state import Dead, Running, Starting
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
        queues: dict[str, Queue] = {}
        for name in names:
            # Some stand behind one that was drawn before; the file's order is another matter.
            after = tuple(other for other in queues if self.random.random() < 0.3)
            wave = max((queues[other].wave + 1 for other in after), default=0)
            queues[name] = replace(self.queue(name), after=after, wave=wave)
        return Manifest("storm", dict(self.random.sample(list(queues.items()), len(queues))))

    def queue(self, name: str) -> Queue:
        choose = self.random.choice
        command = choose(("work", "work hard"))
        return Queue(
            name,
            command,
            tuple(command.split()),
            workers=self.random.randint(0, 4),
            stop=StopPolicy(grace=choose((0.1, 2.0))),
            restart=RestartPolicy(choose(list(RestartWhen)), give_up=choose((None, GiveUp(3, 60.0)))),
            nice=choose((None, None, 5)),
            update=UpdatePolicy(
                Share(choose((0, 0, 1))), choose((Share(1), Share(50, percent=True))), choose((0.0, 1.0))
            ),
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
        if self.random.random() < 0.5:
            # Else the next thing happens before anything has followed from this one.
            self.check_what_is_planned()
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
                rolling = self.random.random() < 0.5
                engine.change(lambda i: restart(i, [target], engine.last_generation, rolling), verb)

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

    def check_what_is_planned(self) -> None:
        """Nothing is left to do, and no queue has more workers than it may have for a roll-out."""
        self.rig.settle()
        view = self.rig.engine.snapshot()
        if view.intent is None or not view.complete or view.observed.shutting_down:
            return
        for name in view.observed.queues:
            desired = desired_queue(view.intent, name)
            if desired is not None and not desired.adjustment.stopped:
                works = [s for s, w in view.queue(name).workers.items() if isinstance(w, Starting | Running)]
                assert len(works) <= desired.workers + surge(desired)
        assert plan(view.intent, view.observed, view.starts).actions == (), "the engine did all that the planner says"

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
def test_faults_57_a_storm_stays_within_bounds_and_ends_with_what_is_wanted(seed: int) -> None:
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
def test_faults_45_nothing_is_spawned_once_the_shutdown_began(seed: int) -> None:
    """No reload, no command and no new control plane revives anything."""
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
