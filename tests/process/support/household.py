"""Workers that are hard to get rid of, all at once; and the deaths of those who look after them."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.process.support import processes
from tests.process.support.keeper import WORKERS, Keeper, program, read_when_written
from tests.process.support.oracle import Oracle
from tests.process.support.processes import Stat
from tests.process.support.waiting import PATIENCE, until, within

KEEPER_DEAD = 1.0
"""Seconds after the death of a keeper in which everything must be gone."""


@dataclass(frozen=True, slots=True)
class Household:
    """What runs, by name. Some are far from their worker: own session, another parent, no environment."""

    members: dict[str, Stat]
    generations: tuple[int, ...]

    def alive(self) -> list[str]:
        return [name for name, stat in self.members.items() if processes.is_the_same(stat)]


def move_in(keeper: Keeper, folder: Path, grace: float = 0.3) -> Household:
    """Starts them all in `folder` and waits until each is what it wants to be."""
    folder.mkdir()
    commands = {
        "daemon": program("daemon.py", folder / "daemon", "--ignore-term"),
        "bare": program("daemon.py", folder / "bare", "--ignore-term", "--clear-env"),
        "stubborn": program("stubborn.py", folder / "stubborn", "setsid", *program("stubborn.py", folder / "inner")),
        "rename": [sys.executable, str(WORKERS / "rename.py"), str(folder / "rename")],
    }
    generations = tuple(keeper.spawn(argv, f"{name}.1", grace=grace) for name, argv in commands.items())
    leaders = {f"leader {e['worker']}": e["pid"] for e in keeper.all_of(generations, "executing").values()}
    others = {name: int(read_when_written(folder / name)) for name in (*commands, "inner", "rename.child")}
    found = {name: processes.stat(pid) for name, pid in {**leaders, **others}.items()}
    return Household({name: stat for name, stat in found.items() if stat is not None}, generations)


def kill_keeper(keeper: Keeper, oracle: Oracle, household: Household, random: Random) -> float:
    """Kills the keeper at some moment, often in the middle of starting and stopping. Seconds until all was gone."""
    disturb(keeper, household, random)
    os.kill(keeper.pid, signal.SIGKILL)
    took = within(KEEPER_DEAD, lambda: not household.alive(), "the end of everybody after the keeper")
    assert keeper.sentinel.wait(PATIENCE) == 128 + signal.SIGKILL
    assert oracle.alive() == []
    return took


def kill_sentinel(keeper: Keeper, oracle: Oracle, household: Household, grace: float) -> float:
    """Kills the sentinel. Seconds until all was gone: the longest grace period, and one more."""
    os.kill(keeper.sentinel.pid, signal.SIGKILL)
    keeper.sentinel.wait()
    took = within(grace + 1.0, lambda: not household.alive(), "the end of everybody after the sentinel")
    until(lambda: oracle.alive() == [], "the keeper to leave")
    return took


def disturb(keeper: Keeper, household: Household, random: Random) -> None:
    """Some starts and stops, of which a random part has been carried out when this returns."""
    for n in range(random.randrange(10)):
        keeper.spawn(["sleep", "1000"], f"extra.{n}")
    if random.random() < 0.5:
        keeper.stop(random.choice(household.generations))
    keeper.pump(random.random() * 0.02)
