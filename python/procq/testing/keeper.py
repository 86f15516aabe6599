"""A keeper without processes: takes the engine's commands, plays the scripts of its workers on a virtual clock."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Final, assert_never

from procq.endings import End, ExitStatus
from procq.engine.port import (
    Announce,
    AnswerPing,
    Command,
    ConfigureWorker,
    DeclareReady,
    ForgetWorker,
    MarkWorkerReady,
    ParkWorker,
    ProbeWorker,
    SaveIntent,
    ShutDown,
    SpawnWorker,
    StopWorker,
    TellService,
)
from procq.events import (
    Attached,
    BecameReady,
    Condemned,
    Executing,
    Exited,
    Gap,
    Gone,
    KeeperEvent,
    Probed,
    Recovered,
    Refused,
    Reported,
    ShuttingDown,
    Snapshot,
    SpawnFailed,
    StopSignalled,
    Stuck,
)
from procq.model import After, LogLine, Notify, Spawned, StopPolicy, WorkerId
from procq.state import Draining, Ended, Report, Running, Settings, Starting, Stopping, WorkerState
from procq.testing.clock import VirtualClock
from procq.testing.jobs import Work
from procq.testing.script import Casting, Script

_INSTANCE: Final = 0xFA4E
_PATIENCE: Final = 2.0
"""Seconds after SIGKILL in which a process should be gone."""


@dataclass(slots=True)
class _Process:
    worker: WorkerId
    script: Script
    settings: Settings
    state: WorkerState
    ready: bool = False
    """Whether it has done what makes it ready, asked for or not."""
    probed: int = 0
    work: Work | None = None
    parked: bool = False
    """Whether it was told to take no more jobs."""
    report: Report | None = None
    """What it has said last."""

    @property
    def stop(self) -> StopPolicy:
        return self.settings.stop


class FakeKeeper:
    """Behaves as the keeper does towards the control plane; implements `EnginePort`.

    It also refuses what the keeper refuses: a spawn into a slot that is taken, with a generation that is not new, or
    after the shutdown began. `refusals` and `commands` hold everything of the kind, for assertions.
    """

    def __init__(self, clock: VirtualClock, casting: Casting) -> None:
        self.clock = clock
        self.casting = casting
        self.commands: list[Command] = []
        self.refusals: list[Refused] = []
        self.interrupted: list[WorkerId] = []
        """Workers that were asked to leave while they were at a job."""
        self.saved: bytes | None = None
        self.last_generation = 0
        self.shutting_down = False
        self._at_once = False
        self.losing = False
        """While True, events are lost; `resync` heals."""
        self._epoch = 0
        self._events: list[KeeperEvent] = []
        self._processes: dict[WorkerId, _Process] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    # --- what the engine sees -----------------------------------------------------------------------------------

    def send(self, commands: Sequence[Command]) -> None:
        """Carries out commands in order."""
        for command in commands:
            self.commands.append(command)
            self._obey(command)

    def take(self) -> list[KeeperEvent]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def attach(self) -> None:
        """A new control plane says hello: what the old one was not told is lost, the snapshot follows."""
        self._epoch += 1
        was_ready = DeclareReady() in self.commands
        self._events = [Attached(self._epoch, _INSTANCE, self.last_generation, self.shutting_down, was_ready)]
        if self.saved is not None:
            self._events.append(Recovered(self.saved))
        self._events.extend(self._snapshot())

    def resync(self) -> None:
        """Stops losing events: tells of the gap, and everything anew."""
        self.losing = False
        self._events.extend((Gap(), *self._snapshot()))

    # --- what a test sees ---------------------------------------------------------------------------------------

    @property
    def next_at(self) -> float | None:
        """When something happens next."""
        return self._timers[0][0] if self._timers else None

    def fire(self) -> None:
        """Lets everything happen whose time has come."""
        while self._timers and self._timers[0][0] <= self.clock.now:
            heappop(self._timers)[2]()

    def alive(self, queue: str | None = None) -> dict[WorkerId, int]:
        """Workers of which something lives, with their generations."""
        return {
            p.worker: p.state.generation
            for p in self._processes.values()
            if not isinstance(p.state, Ended) and queue in (None, p.worker.queue)
        }

    def state(self, worker: WorkerId) -> WorkerState | None:
        """What the keeper knows about a slot."""
        process = self._processes.get(worker)
        return None if process is None else process.state

    def kill(self, worker: WorkerId) -> None:
        """Somebody outside sends SIGKILL."""
        process = self._processes[worker]
        self._exit(process, process.state.generation, -signal.SIGKILL)

    # --- commands -----------------------------------------------------------------------------------------------

    def _obey(self, command: Command) -> None:
        match command:
            case SpawnWorker():
                self._spawn(command)
            case StopWorker(worker, generation):
                self._if_known(worker, generation, self._ask)
            case ConfigureWorker(worker, generation, settings):
                self._if_known(worker, generation, lambda p: self._configure(p, settings))
            case ProbeWorker():
                self._probe(command)
            case ForgetWorker(worker, generation):
                self._forget(worker, generation)
            case ParkWorker() | MarkWorkerReady():
                self._tell_worker(command)
            case SaveIntent(data):
                self.saved = data
            case ShutDown(reason, fast):
                self.shut_down(reason, fast)
            case Announce() | DeclareReady() | TellService() | AnswerPing():
                pass
            case _:
                assert_never(command)

    def _tell_worker(self, command: ParkWorker | MarkWorkerReady) -> None:
        match command:
            case ParkWorker(worker, generation, parked):
                self._if_known(worker, generation, lambda p: self._park(p, parked))
            case MarkWorkerReady(worker, generation):
                self._if_known(worker, generation, self._mark_ready)

    def _spawn(self, command: SpawnWorker) -> None:
        worker, generation, now = command.worker, command.generation, self.clock.now
        if worker in self.alive():
            return self._refuse(worker, generation, "its slot is taken")
        if self.shutting_down:
            return self._refuse(worker, generation, "everything is being stopped")
        if generation <= self.last_generation:
            return self._refuse(worker, generation, f"generation {self.last_generation} was there before")
        self.last_generation = generation
        script = self.casting(worker, generation)
        state = Starting(generation, command.fingerprint, now, None, command.queue.wave)
        settings = Settings.of(command.queue)
        process = self._processes[worker] = _Process(worker, script, settings, state, parked=command.parked)
        self._later(now + script.boot, lambda: self._exec(process, generation))
        return None

    def _if_known(self, worker: WorkerId, generation: int, then: Callable[[_Process], None]) -> None:
        process = self._processes.get(worker)
        if process is None or process.state.generation != generation:
            self._refuse(worker, generation, "no such worker")
        else:
            then(process)

    def _configure(self, process: _Process, settings: Settings) -> None:
        process.settings = settings
        if isinstance(process.state, Starting | Running):
            process.state = replace(process.state, wave=settings.wave)
        if process.ready:
            self._ready(process, process.state.generation)

    def _mark_ready(self, process: _Process) -> None:
        if isinstance(process.state, Running) and process.state.ready is None:
            process.state = replace(process.state, ready=self.clock.now)

    def _ready(self, process: _Process, generation: int) -> None:
        """The worker does what makes it ready; keeper, or whoever asks ports and URLs, tells of it."""
        state, check, now = process.state, process.settings.ready.check, self.clock.now
        if not isinstance(state, Running) or state.generation != generation:
            return
        process.ready = True
        if isinstance(check, Spawned | After) or state.ready is not None:
            return
        by_keeper = isinstance(check, Notify | LogLine)
        if by_keeper:
            process.state = replace(state, ready=now)
        self._tell(BecameReady(process.worker, generation, now, by_keeper))

    def _probe(self, command: ProbeWorker) -> None:
        """The health command ends as the worker's script says; one that hangs is killed for its time."""
        self.last_generation = max(self.last_generation, command.generation)
        process = self._processes.get(command.worker)
        outcomes = process.script.probes if process is not None else (ExitStatus(1),)
        outcome = outcomes[min(process.probed, len(outcomes) - 1)] if process is not None else outcomes[0]
        if process is not None:
            process.probed += 1
        ended = Probed(command.worker, command.generation, outcome, "")
        takes = command.timeout if outcome is None else 0.0
        self._later(self.clock.now + takes, lambda: self._tell(ended))

    def _forget(self, worker: WorkerId, generation: int) -> None:
        process = self._processes.get(worker)
        if process is not None and process.state.generation == generation and isinstance(process.state, Ended):
            del self._processes[worker]

    def _refuse(self, worker: WorkerId, generation: int, why: str) -> None:
        refused = Refused(worker, generation, why, self.clock.now)
        self.refusals.append(refused)
        self._tell(refused)

    def shut_down(self, reason: str, fast: bool = False) -> None:
        """Stops everything, as `procq down` does: wave after wave, or with `fast` at once. Nothing is started then."""
        self.shutting_down = True
        self._at_once = self._at_once or fast
        self._tell(ShuttingDown(reason, fast))
        self._stop_next_wave()

    def _stop_next_wave(self) -> None:
        states = ((p.worker, p.state) for p in self._processes.values())
        alive = {w: s.wave for w, s in states if isinstance(s, Starting | Running | Stopping | Draining)}
        highest = max(alive.values(), default=0)
        for worker, wave in alive.items():
            if wave == highest or self._at_once:
                self._ask(self._processes[worker])

    # --- lives --------------------------------------------------------------------------------------------------

    def _exec(self, process: _Process, generation: int) -> None:
        state, script, now = process.state, process.script, self.clock.now
        if state.generation != generation or not isinstance(state, Starting | Stopping):
            return
        if script.start_error is not None:
            failed = End(script.start_error, state.at, now)
            process.state = Draining(generation, state.fingerprint, failed, state.wave)
            self._tell(SpawnFailed(process.worker, generation, script.start_error, now))
            self._later(now + script.linger, lambda: self._gone(process, generation))
            return
        pid = 100_000 + generation
        self._tell(Executing(process.worker, generation, pid, now))
        if isinstance(state, Starting):
            process.state = Running(generation, state.fingerprint, pid, now, None, state.wave)
        self._later(now + script.ready_after, lambda: self._ready(process, generation))
        if script.job is not None:
            process.work = Work(script.job, script.rest)
            process.parked = process.parked and not script.deaf
            self._work(process, generation)
        for after, report in script.says:
            said = Reported(process.worker, replace(report, generation=generation))
            self._later(now + after, lambda said=said: self._if_alive(process, generation, said))  # type: ignore[misc]
        for after, why, detail in script.found:
            found = Condemned(process.worker, generation, why, detail, now + after)
            self._later(now + after, lambda found=found: self._if_alive(process, generation, found))  # type: ignore[misc]
        self._later(now + script.run_for, lambda: self._exit(process, generation, script.exit_code))
        self._later(now + script.kill_after, lambda: self._exit(process, generation, -signal.SIGKILL))

    def _park(self, process: _Process, parked: bool) -> None:
        process.parked = parked and not process.script.deaf
        if isinstance(process.state, Running):
            process.state = replace(process.state, parked=self.clock.now if parked else None)
        if process.work is not None and process.work.heeds(process.parked):
            self._work(process, process.state.generation)

    def _work(self, process: _Process, generation: int) -> None:
        """The worker does the next step of its work, says so, and goes on when that is done."""
        work, state = process.work, process.state
        if work is None or state.generation != generation or not isinstance(state, Running | Stopping):
            return
        report, takes = work.next(process.parked, self.clock.now)
        process.report = replace(report, generation=generation)
        self._tell(Reported(process.worker, process.report))
        if takes is not None:
            step = work.step
            self._later(self.clock.now + takes, lambda: self._go_on(process, generation, step))

    def _go_on(self, process: _Process, generation: int, step: int) -> None:
        if process.work is not None and process.work.step == step:
            self._work(process, generation)

    def _ask(self, process: _Process) -> None:
        state, now = process.state, self.clock.now
        if not isinstance(state, Starting | Running):
            return
        if process.work is not None and process.work.busy:
            self.interrupted.append(process.worker)
        generation, deadline = state.generation, now + process.stop.grace
        pid = state.pid if isinstance(state, Running) else 0
        ready = state.ready if isinstance(state, Running) else None
        process.state = Stopping(generation, state.fingerprint, pid, state.at, deadline, "", state.wave, ready=ready)
        self._tell(StopSignalled(process.worker, generation, deadline, now))
        if not process.script.ignore_term:
            leaves = min(now + process.script.leave_after, deadline)
            self._later(leaves, lambda: self._exit(process, generation, -process.stop.signal))
        late = process.script.unkillable_for
        if late:
            stuck = Stuck(process.worker, generation, "pid 7 (cp) hangs in nfs_wait", deadline + _PATIENCE)
            self._later(stuck.at, lambda: self._if_alive(process, generation, stuck))
        self._later(deadline + late, lambda: self._exit(process, generation, -signal.SIGKILL))

    def _if_alive(self, process: _Process, generation: int, event: KeeperEvent) -> None:
        if process.state.generation == generation and isinstance(process.state, Running | Stopping):
            self._tell(event)

    def _exit(self, process: _Process, generation: int, code: int) -> None:
        state, now = process.state, self.clock.now
        if state.generation != generation or not isinstance(state, Starting | Running | Stopping):
            return
        ready = None if isinstance(state, Starting) else state.ready
        end = End(ExitStatus(code), state.at, now, isinstance(state, Stopping), ready=ready)
        process.state = Draining(generation, state.fingerprint, end, state.wave)
        self._tell(Exited(process.worker, generation, ExitStatus(code), now))
        self._later(now + process.script.linger, lambda: self._gone(process, generation))

    def _gone(self, process: _Process, generation: int) -> None:
        state = process.state
        if isinstance(state, Draining) and state.generation == generation:
            process.state = Ended(generation, state.fingerprint, state.end)
            self._tell(Gone(process.worker, generation, 0, self.clock.now))
            if self.shutting_down:
                self._stop_next_wave()

    def _later(self, at: float, act: Callable[[], None]) -> None:
        if at < float("inf"):
            heappush(self._timers, (at, next(self._order), act))

    def _tell(self, event: KeeperEvent) -> None:
        if not self.losing:
            self._events.append(event)

    def _snapshot(self) -> list[KeeperEvent]:
        processes = self._processes.values()
        workers = tuple((p.worker, p.state) for p in processes)
        said = [Reported(p.worker, p.report) for p in processes if p.report is not None]
        return [Snapshot(workers, self.clock.now, self.last_generation), *said]
