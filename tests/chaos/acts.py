"""What is done to a running procq: each act is chosen, and done, by a seeded random."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

from procq.errors import ProcqError
from tests.chaos.cast import COUNTS, MOST, Cast
from tests.chaos.ledger import Process, alive
from tests.chaos.model import Act, Model
from tests.chaos.players import Players
from tests.process.support import processes
from tests.process.support.project import PROCQ, Procq
from tests.process.support.versions import Version
from tests.process.support.waiting import PATIENCE, until

CONTROL_KILLS = 4
"""In one life of a keeper, which waits twice as long before each new start."""
_REMOVABLE = "slow"


class Acts:
    """All of them on one stage. Each says in words what it has done, and to which queue that may matter."""

    def __init__(
        self,
        random: Random,
        procq: Procq,
        cast: Cast,
        model: Model,
        players: Players,
        versions: Sequence[Version] = (),
    ) -> None:
        self.random = random
        self.procq = procq
        self.cast = cast
        self.model = model
        self.players = players
        self.versions = versions
        self.control_kills: list[tuple[float, float]] = []
        self.followers: list[subprocess.Popen[bytes]] = []
        self._number = 0
        self._all: dict[Callable[[], tuple[str, str]], int] = {
            self.kill_worker: 6,
            self.kill_daemon: 1,
            self.pause_worker: 3,
            self.kill_control_plane: 2,
            self.pause_control_plane: 2,
            self.pause_keeper: 2,
            self.take_descriptors: 2,
            self.fill_disk: 1,
            self.change_count: 5,
            self.change_command: 2,
            self.break_manifest: 3,
            self.remove_queue: 1,
            self.scale: 3,
            self.stop_or_start: 3,
            self.restart: 2,
            self.follow_logs: 2,
            self.rotate_outside: 2,
            self.harm_a_log: 2,
            self.hang_up: 1,
            self.upgrade: 1,
        }

    def one(self) -> Act:
        """Does one of them."""
        (chosen,) = self.random.choices(list(self._all), list(self._all.values()))
        return self.do(chosen)

    def do(self, act: Callable[[], tuple[str, str]]) -> Act:
        began = self.model.clock()
        what, queue = act()
        self.model.remember()
        done = Act(began, self.model.clock(), what, queue)
        self.model.acts.append(done)
        return done

    # To processes

    def _worker(self) -> tuple[str, Process] | None:
        """One that lives, and that does not depend on how quick the machine is."""
        slots = [f"{queue}.{n}" for queue, most in self.model.wanted().items() for n in range(1, most + 1)]
        worker = self.random.choice(slots) if slots else ""
        process = self.players.leader(worker)
        return (worker, process) if process else None

    def kill_worker(self) -> tuple[str, str]:
        found = self._worker()
        if found is None:
            return "kill nobody", ""
        worker, process = found
        self._kill(process)
        return f"kill -9 of {worker}, pid {process[0]}", ""

    def _kill(self, process: Process) -> None:
        handle = os.pidfd_open(process[0])
        try:
            if alive(process):
                self.model.killed[process] = self.model.clock()
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)

    def kill_daemon(self) -> tuple[str, str]:
        daemons = self.players.daemons()
        if not daemons:
            return "kill no daemon", ""
        pid = self.random.choice(daemons)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"kill -9 of the daemon {pid}", ""

    def pause_worker(self) -> tuple[str, str]:
        found = self._worker()
        seconds = self.random.uniform(0, 0.3)
        if found:
            _pause(found[1][0], seconds)
        return f"pause {found and found[0]} for {seconds:.2f} s", ""

    def kill_control_plane(self) -> tuple[str, str]:
        if len(self.control_kills) >= CONTROL_KILLS:
            return "spare the control plane", ""
        info, began = self.procq.info(), time.monotonic()
        if info.control_plane is None:
            return "find no control plane", ""
        with suppress(ProcessLookupError):
            os.kill(info.control_plane, signal.SIGKILL)
        until(lambda: self.procq.info().starts > info.starts, "another control plane")
        if self.random.random() < 0.7:
            self.procq.control_plane()
        self.control_kills.append((began, time.monotonic()))
        return f"kill -9 of the control plane, pid {info.control_plane}", ""

    def pause_control_plane(self) -> tuple[str, str]:
        pid, seconds = self.procq.info().control_plane, self.random.uniform(0, 0.8)
        if pid:
            _pause(pid, seconds)
        return f"pause the control plane for {seconds:.2f} s", ""

    def pause_keeper(self) -> tuple[str, str]:
        seconds = self.random.uniform(0, 0.5)
        _pause(self.procq.info().pid, seconds)
        return f"pause the keeper for {seconds:.2f} s", ""

    # To the machine

    def take_descriptors(self) -> tuple[str, str]:
        """The keeper gets no new ones for a moment; workers end meanwhile and cannot be replaced."""
        pid, seconds = self.procq.info().pid, self.random.uniform(0, 0.5)
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        left = self.random.randint(0, 4)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (sum(processes.descriptors(pid).values()) + left, limits[1]))
        try:
            victim = self.kill_worker()[0]
            time.sleep(seconds)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        return f"leave {left} descriptors for {seconds:.2f} s, and {victim}", ""

    def fill_disk(self) -> tuple[str, str]:
        """That of the queue `hurt`, where it is one of its own."""
        if not os.path.ismount(self.cast.disk):
            return "fill no disk", ""
        filler, seconds = self.cast.disk / "filler", self.random.uniform(0.1, 1.0)
        with suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        time.sleep(seconds)
        filler.unlink()
        return f"fill the disk for {seconds:.2f} s", ""

    # To the manifest

    def save(self, text: str | None = None) -> str:
        """Writes it in one of the ways of editors and deployments."""
        content = self.cast.text() if text is None else text
        how = self.random.choice(["in place", "renamed", "half-written", "linked"])
        manifest = self.procq.manifest
        match how:
            case "in place":
                manifest.write_text(content)
            case "renamed":
                self.procq.replace(content)
            case "half-written":
                manifest.write_text(content[: content.find("    workers") + 7])
                time.sleep(self.random.uniform(0, 0.1))
                manifest.write_text(content)
            case _:
                self._number += 1
                target = self.procq.folder / f"version-{self._number}.yaml"
                target.write_text(content)
                link = self.procq.folder / ".link"
                link.symlink_to(target.name)
                link.rename(manifest)
        return how

    def change_count(self) -> tuple[str, str]:
        queue, count = self.random.choice(list(self.cast.counts)), self.random.randint(0, MOST)
        self.cast.counts[queue] = self.model.counts[queue] = count
        self.model.remember()
        return f"{queue} has {count} workers in the manifest, {self.save()}", queue

    def change_command(self) -> tuple[str, str]:
        """Its environment, which replaces every worker of the queue."""
        queue = self.random.choice(list(self.cast.counts))
        self.cast.tweaks[queue] = self.cast.tweaks.get(queue, 0) + 1
        return f"{queue} has another environment, {self.save()}", queue

    def break_manifest(self) -> tuple[str, str]:
        text = self.cast.text()
        half, misspelt = text[: text.rfind("    workers") + 7], text.replace("    workers:", "    wrokers:", 1)
        broken = self.random.choice([half, "", "\0", misspelt])
        how = self.save(broken) if broken else "in place"
        if not broken:
            self.procq.save(broken)
        seconds = self.random.uniform(0, 0.5)
        time.sleep(seconds)
        mended = self.random.random() < 0.7
        return f"break the manifest, {how}" + (f", and mend it, {self.save()}" if mended else ""), ""

    def remove_queue(self) -> tuple[str, str]:
        """One goes, or comes back; what was said by hand of it goes with it."""
        if _REMOVABLE in self.cast.counts:
            for counts in (self.cast.counts, self.model.counts):
                del counts[_REMOVABLE]
            said = "removed"
        else:
            self.cast.counts[_REMOVABLE] = self.model.counts[_REMOVABLE] = COUNTS[_REMOVABLE]
            self.model.remember()
            said = "added"
        return f"{_REMOVABLE} is {said}, {self.save()}", _REMOVABLE

    # By hand

    def _queue(self) -> str:
        return self.random.choice([queue for queue in self.cast.counts if queue != _REMOVABLE])

    def _ask(self, request: Callable[[], object]) -> None:
        """Until it is answered: a request that was cut off may have been carried out, and none of these minds."""

        def answered() -> bool:
            try:
                request()
            except ProcqError:
                return False
            return True

        until(answered, lambda: f"an answer; procq said: {self.procq.said()[-2000:]}", PATIENCE * 2)

    def scale(self) -> tuple[str, str]:
        queue, count = self._queue(), self.random.choice([None, *range(MOST + 1)])
        if count is None:
            self.model.overrides.pop(queue, None)
        else:
            self.model.overrides[queue] = count
        self.model.remember()
        self._ask(lambda: self.procq.client.scale(queue, "auto" if count is None else str(count)))
        return f"scale {queue}={'auto' if count is None else count}", queue

    def stop_or_start(self) -> tuple[str, str]:
        queue = self._queue()
        running = queue in self.model.stopped or self.random.random() < 0.3
        (self.model.stopped.discard if running else self.model.stopped.add)(queue)
        self.model.remember()
        self._ask(lambda: self.procq.client.set_running([queue], running))
        return f"{'start' if running else 'stop'} {queue}", queue

    def restart(self) -> tuple[str, str]:
        queue, rolling = self._queue(), self.random.random() < 0.5
        self.model.stopped.discard(queue)
        self.model.remember()
        self._ask(lambda: self.procq.client.restart([queue], rolling))
        return f"restart {queue}{' --rolling' if rolling else ''}", queue

    def hang_up(self) -> tuple[str, str]:
        assert self.procq.process is not None
        self.procq.process.send_signal(signal.SIGHUP)
        return "SIGHUP", ""

    def upgrade(self) -> tuple[str, str]:
        """Keeper and control plane are replaced by another version; no worker is."""
        if not self.versions:
            return "upgrade to nothing", ""
        version, began = self.random.choice(self.versions), time.monotonic()
        version.take_over(self.procq)
        self.control_kills.append((began, time.monotonic()))
        return f"upgrade to {version.name}", ""

    # To output

    def follow_logs(self) -> tuple[str, str]:
        """A reader comes that reads nothing, or one goes."""
        if self.followers and self.random.random() < 0.5:
            self.let_go(self.followers.pop())
            return "kill a follower", ""
        environment = {name: value for name, value in self.procq.environment.items() if name != processes.COOKIE}
        command = [str(PROCQ), "logs", "-f", self.random.choice(["lines", "*", "crash.1"])]
        follower = subprocess.Popen(
            command, cwd=self.procq.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.followers.append(follower)
        return "a follower of logs", ""

    def let_go(self, follower: subprocess.Popen[bytes]) -> None:
        follower.kill()
        assert follower.stdout is not None
        follower.stdout.close()
        follower.wait()

    def rotate_outside(self) -> tuple[str, str]:
        """Somebody else renames a file that is being written."""
        self._number += 1
        files = sorted((self.cast.folder / f"logs-{self.cast.life}").glob("lines-*.log"))
        if not files:
            return "rename no log", ""
        file = self.random.choice(files)
        with suppress(FileNotFoundError):
            file.rename(file.with_name(f"{file.name}-moved-{self._number}"))
        return f"rename {file.name}", ""

    def harm_a_log(self) -> tuple[str, str]:
        files = sorted(self.cast.disk.glob("hurt-*.log"))
        if not files:
            return "harm no log", ""
        file, truncate = self.random.choice(files), self.random.random() < 0.5
        with suppress(FileNotFoundError):
            if truncate:
                os.truncate(file, 0)
            else:
                file.unlink()
        return f"{'truncate' if truncate else 'delete'} {file.name}", ""


def _pause(pid: int, seconds: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
