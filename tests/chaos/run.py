"""A run of the chaos suite: lives of a keeper, each with its acts, its rests and its end, and the checks in between."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.chaos import rules
from tests.chaos.acts import Acts
from tests.chaos.cast import Cast
from tests.chaos.ledger import numbers
from tests.chaos.model import Act, Model
from tests.chaos.players import Players
from tests.chaos.witness import Witness
from tests.process.support import processes
from tests.process.support.oracle import Oracle, keeper_excess, settled
from tests.process.support.project import Procq
from tests.process.support.versions import Version
from tests.process.support.waiting import PATIENCE, until

REST = 45.0
"""Seconds in which all must be as it is wanted once nothing is done any more."""
NOBODY_LEFT = 5.0
"""Seconds after the end of a keeper in which all must be gone: one is promised, on a machine that has time."""
JOBS = 40
"""That wait at any time."""
EXCUSED = 3.0
"""Seconds around the death of a control plane in which an end that it was told may be forgotten with it."""
_SHOWN = 80


class Chaos:
    """One project, its model and its checker. The seed tells everything that is chosen."""

    def __init__(
        self, seed: int, make: Callable[[str], Procq], oracle: Oracle, disk: Path, versions: Sequence[Version]
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.oracle = oracle
        self.versions = versions
        self.procq = make("queues: {}\n")
        self.cast = Cast(self.procq.folder, disk)
        self.model = Model(dict(self.cast.counts))
        self.players = Players(self.procq.folder)
        self.hard: set[str] = set()
        self.ends: Counter[str] = Counter()
        self.counted = 0
        self.idle: tuple[Counter[str], int] | None = None
        self.jobs = 0
        self.given: Counter[str] = Counter()
        self.ways = [self.kill_keeper, self.kill_sentinel, self.terminate, self.down, self.idle_then_down]

    def run(self, seconds: float, acts: int = 25) -> None:
        """Lives until the time is up. Fails with the seed, and with what was done, when a rule is broken."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self.life(acts)
            # Sockets that a killed keeper leaves behind are taken away by the next one.
            self.life(0, self.down)
        except BaseException as error:
            error.add_note(self.story())
            raise

    def story(self) -> str:
        """How to do it again, and what was done."""
        done = "\n".join(map(str, self.model.acts[-_SHOWN:]))
        return f"seed {self.seed}: repeat with --seed {self.seed}\nthe last acts of {len(self.model.acts)}:\n{done}"

    def said(self) -> str:
        """What procq itself has said, without the output of workers."""
        own = (line for line in self.procq.said().splitlines() if "| " not in line and not line.startswith("crash"))
        return "\n".join(list(own)[-_SHOWN:])

    def summary(self) -> str:
        ends = ", ".join(f"{n} × {how}" for how, n in sorted(self.ends.items()))
        upgrades = sum(act.what.startswith("upgrade to") for act in self.model.acts)
        done = f"{len(self.model.acts)} acts, {upgrades} upgrades among them, {self.counted} workers began"
        return f"seed {self.seed}: {done}; ends: {ends}"

    # One life

    def life(self, acts: int, how: Callable[[Acts], None] | None = None) -> None:
        """From `up` to an end, chosen or given."""
        self.cast.life += 1
        self.cast.prepare()
        self.model.new_life(self.cast.counts)
        self.procq.manifest.unlink()
        self.procq.output.unlink(missing_ok=True)
        self.procq.save(self.cast.text())
        began = len(self.players.entries)
        self.mark("up", "*")
        self.procq.start()
        doing = Acts(self.random, self.procq, self.cast, self.model, self.players, self.versions)
        witness = Witness(self.procq.client)
        witness.start()
        try:
            for n in range(acts):
                self.feed()
                doing.one()
                time.sleep(self.random.expovariate(20))
                if n % 12 == 11:
                    self.rest()
            self.end(doing, how or self.random.choice(self.ways))
        finally:
            for follower in doing.followers:
                doing.let_go(follower)
        witness.finish()
        self.judge(began, witness, doing)

    def mark(self, what: str, queue: str = "") -> None:
        """Something that is done by the run itself."""
        now = time.monotonic()
        self.model.acts.append(Act(now, now, what, queue))

    def feed(self) -> None:
        """Jobs that wait."""
        todo = self.cast.folder / "todo"
        for _ in range(JOBS - len(list(todo.iterdir()))):
            self.jobs += 1
            (todo / f"{self.jobs:08}").touch()

    def rest(self) -> None:
        """Nothing is done: soon exactly those live that are wanted, and procq says the same."""
        self.procq.save(self.cast.text())
        self.mark("rest")

        def unrest() -> list[str]:
            return rules.who_lives_is_wanted(self.players.entries, self.players.living(), self.model.wanted())

        until(lambda: not unrest(), lambda: f"rest: {unrest()}; procq said: {self.said()}", REST)
        until(self.agrees, lambda: f"procq to say who lives; it says: {self.procq.status()}", REST)
        self.give_back()

    def agrees(self) -> bool:
        """Whether procq names the very processes that live. Those that crash come and go meanwhile."""
        if not self.procq.ready():
            return False
        living = self.players.living()
        steady = living - {e.process for e in self.players.entries if e.queue == "crash"}
        said = {each.id: each.pid for each in self.procq.status().workers if each.state == "running"}
        return {pid for worker, pid in said.items() if not worker.startswith("crash.")} == {p[0] for p in steady}

    def give_back(self) -> None:
        """Jobs of players that we have killed wait again; those that nobody has noted yet, once nobody lives."""
        jobs = list((self.cast.folder / "doing").iterdir())
        living = self.players.living()
        takers: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for e in self.players.entries:
            if e.what == "took":
                takers[e.about].append(e.process)
        for job in jobs:
            # Who has taken it again may not have noted it yet: what is noted is of the time before then.
            noted = len(takers[job.name]) > self.given[job.name]
            if (takers[job.name][-1] not in living) if noted else not living:
                self.given[job.name] = len(takers[job.name])
                job.rename(self.cast.folder / "todo" / job.name)

    # Its end

    def end(self, doing: Acts, how: Callable[[Acts], None]) -> None:
        self.ends[how.__name__.replace("_", " ")] += 1
        self.mark(how.__name__, "*")
        how(doing)
        self.mark("ended", "*")
        assert settled(lambda: [str(pid) for pid in self.oracle.alive()], NOBODY_LEFT) == [], "left behind"

    def instance(self) -> str:
        return next(e.instance for e in reversed(self.players.entries) if e.what == "born")

    def kill_keeper(self, doing: Acts) -> None:
        self.players.look()
        self.hard.add(self.instance())
        os.kill(self.procq.info().pid, signal.SIGKILL)
        assert self.procq.wait() == 128 + signal.SIGKILL

    def kill_sentinel(self, doing: Acts) -> None:
        self.procq.signal(signal.SIGKILL)
        self.procq.wait()
        until(lambda: not self.oracle.alive(), "everything to be stopped", PATIENCE * 2)

    def terminate(self, doing: Acts) -> None:
        """While workers and control plane do not move, or the latter is gone."""
        self.disturb(doing)
        self.procq.signal(self.random.choice([signal.SIGTERM, signal.SIGINT]))
        assert self.procq.wait(PATIENCE * 2) == 0

    def down(self, doing: Acts) -> None:
        self.disturb(doing)
        list(self.procq.client.stop())
        assert self.procq.wait(PATIENCE * 2) == 0

    def disturb(self, doing: Acts) -> None:
        living = sorted(self.players.living())
        for process in self.random.sample(living, min(2, len(living))) if self.random.random() < 0.5 else []:
            os.kill(process[0], signal.SIGSTOP)
        control_plane = self.procq.info().control_plane
        if control_plane and self.random.random() < 0.5:
            os.kill(control_plane, self.random.choice([signal.SIGSTOP, signal.SIGKILL]))

    def idle_then_down(self, doing: Acts) -> None:
        """Without workers, keeper and control plane have open what they had the first time, and nobody is left."""
        for follower in doing.followers:
            doing.let_go(follower)
        doing.followers.clear()
        self.rest()
        self.mark("stop all", "*")
        self.procq.client.set_running(["*"], False)
        until(lambda: not self.players.living() and not self.players.daemons(), "everybody to be stopped")
        info = self.procq.info()
        control_plane = self.procq.control_plane()
        known = {info.pid, info.sentinel, control_plane}
        until(lambda: set(self.oracle.alive()) == known, lambda: f"only {known}; {self.oracle.alive()} live")
        if self.idle is None:
            opened = min(sum(processes.descriptors(control_plane).values()) for _ in range(20))
            self.idle = (processes.descriptors(info.pid), opened)
        keeper, opened = self.idle
        assert settled(lambda: keeper_excess(info.pid, keeper, 0, logs=True)) == []
        until(lambda: sum(processes.descriptors(control_plane).values()) <= opened + 1, "descriptors to be closed")
        self.down(doing)

    # The judgement

    def judge(self, began: int, witness: Witness, doing: Acts) -> None:
        self.players.look()
        entries, killed = self.players.entries[began:], self.model.killed
        everything, alive = self.players.entries, set(self.players.living())
        logs = self.cast.folder / f"logs-{self.cast.life}"
        instances = {e.instance for e in entries}
        hard = bool(instances & self.hard)
        written, torn = numbers((f for f in logs.iterdir() if not f.name.endswith(".idx")), may_be_torn=hard)
        progress = self.progress("lines", instances)
        excused = [(a - EXCUSED, b + EXCUSED) for a, b in doing.control_kills]
        ended = self.model.acts[-2].began
        excused.append((ended - EXCUSED, float("inf")))
        wrong = [
            *rules.one_generation_a_slot(entries),
            *rules.generations_grow(entries),
            *rules.only_wanted_ones_begin(entries, self.model),
            *rules.nobody_is_asked_without_a_reason(entries, self.model),
            *rules.nobody_dies_unasked(entries, killed, alive, self.hard),
            *torn,
            *rules.lines_are_complete(written, progress, self.hard),
            *rules.jobs_are_done_once(everything, killed, self.hard),
            *rules.jobs_are_not_lost(everything, killed, alive, self.hard),
            *rules.statuses_are_right(witness.told, entries, killed),
            *rules.every_end_is_told([*witness.told, *witness.unsure], entries, excused),
        ]
        assert wrong == [], "\n".join([*wrong, "procq said:", self.said()])
        assert "Traceback" not in self.procq.said(), self.procq.said()[-6000:]
        self.counted += sum(e.what == "born" for e in entries)
        self.give_back()
        shutil.rmtree(logs)
        shutil.rmtree(self.cast.folder / "progress")

    def progress(self, queue: str, instances: set[str]) -> dict[tuple[str, str, int], int]:
        found = {}
        for file in (self.cast.folder / "progress").iterdir():
            worker, instance, generation = file.name.split("-")
            if worker.startswith(f"{queue}.") and instance in instances:
                found[worker, instance, int(generation)] = int(file.read_bytes() or 0)
        return found
