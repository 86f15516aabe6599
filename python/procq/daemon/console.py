"""What the control plane says in the terminal of `procq up`: lines beside those of the workers. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath

from procq.api.differences import change_view, impact
from procq.endings import ending
from procq.errors import ManifestError, printable
from procq.events import (
    Delayed,
    Event,
    Exited,
    Forgotten,
    Retired,
    RollOutHalted,
    ShuttingDown,
    SpawnFailed,
    SpawnRequested,
    Stuck,
)
from procq.lives import Life
from procq.model import Manifest, WorkerId
from procq.plan.diff import QueueDiff
from procq.state import Resting
from procq.text import Style, count, duration, plain

_MOST_LINES = 20
_SIGN_COLOURS = {"+": "green", "~": "yellow", "±": "yellow", "-": "red"}


class Console:
    """Makes lines. A worker that ends unasked is told in one line, together with what follows from it."""

    def __init__(self, prefix_width: int, color: bool) -> None:
        self._width = prefix_width
        self._style = Style(color)
        self._ended: dict[WorkerId, tuple[str, str]] = {}
        self._quiet = False

    # --- the start ----------------------------------------------------------------------------------------------

    def started(self, version: str, project: str, manifest: Manifest) -> list[str]:
        """The head line, then a line a queue."""
        queues = list(manifest.queues.values())
        head = f"procq {version} · {plain(project)} · {count(len(queues), 'queue')} · `procq status` shows what runs"
        shown = queues if len(queues) <= _MOST_LINES else queues[: _MOST_LINES - 1]
        rows = [self._row(q.name, f"{count(q.workers, 'worker'):<12}", plain(q.command)) for q in shown]
        if len(shown) < len(queues):
            rows.append(self._row("…", "", f"and {len(queues) - len(shown)} more queues"))
        return [head, *rows, ""]

    def recovered(self, epoch: int) -> list[str]:
        """A control plane after the first one has taken over."""
        return [self._line("procq", "·", "dim", f"control plane started again (no. {epoch}), no worker was touched")]

    # --- reloads ------------------------------------------------------------------------------------------------

    def reloaded(self, file: str, changes: Iterable[QueueDiff], seconds: float, unfinished: bool) -> list[str]:
        """A line for each queue that changed. `unfinished`: some workers had not started after `seconds`."""
        lines = [self._change(file, change, seconds, unfinished) for change in changes]
        if len(lines) > _MOST_LINES:
            rest = len(lines) - _MOST_LINES + 1
            lines[_MOST_LINES - 1 :] = [self._line(file, "·", "dim", f"and {rest} more queues changed")]
        return lines

    def refused(self, manifest: PurePath, error: ManifestError) -> list[str]:
        """The manifest on disk does not load: a line for each problem, of it or of a file that it names."""
        lines = []
        for problem in error.problems[:_MOST_LINES]:
            file = problem.path.removeprefix(f"{manifest.parent}/")
            where = f"line {problem.line}   " if problem.line else ""
            # A line without its source below it has to show the value itself.
            quoted = "" if problem.offending in problem.message else f' ("{problem.offending}")'
            text = printable(f"{where}{problem.message}{quoted}: {problem.expected}")
            lines.append(self._line(file, "✗", "red", text))
        if not lines:
            lines.append(self._line(manifest.name, "✗", "red", printable(error.message)))
        return [*lines, self._line(manifest.name, "·", "dim", "the running configuration stays in force")]

    def _change(self, file: str, diff: QueueDiff, seconds: float, unfinished: bool) -> str:
        change = change_view(diff)
        started = "starting" if unfinished else f"started in {duration(seconds)}"
        text = f"{plain(change.queue):<9} {plain(change.what):<28} {impact(diff, started)}"
        return self._line(file, change.sign, _SIGN_COLOURS[change.sign], text)

    # --- health -------------------------------------------------------------------------------------------------

    def unasked(self, worker: WorkerId, why: str) -> list[str]:
        """A question about a worker that says nothing of it: it goes on."""
        return [self._line(str(worker), "✗", "red", f"{plain(why)}; it goes on")]

    # --- crashes ------------------------------------------------------------------------------------------------

    def happened(self, event: Event, life: Life) -> Iterator[str]:
        """The lines, if any, that `event` leads to. `life` is what an exit ended."""
        if self._quiet:
            return
        match event:
            case Exited(worker=worker, status=status) if not life.asked or life.fault or life.limit:
                lived = "" if life.seconds is None else f"after {duration(life.seconds)}, "
                calm = bool(life.limit) or (status.success and not life.fault)
                told = plain(ending(status, life.asked, life.fault, life.limit))
                self._ended[worker] = ("↻" if calm else "✗", f"{told}    {lived}")
            case Stuck(worker=worker, what=what):
                yield self._line(str(worker), "✗", "red", f"SIGKILL does not end it: {plain(what)}")
            case SpawnFailed(worker=worker, failure=failure):
                self._ended[worker] = ("✗", f"cannot start: {plain(str(failure))}    ")
            case ShuttingDown():
                self._quiet = True
            case RollOutHalted(queue=queue, why=why):
                yield self._line(queue, "✗", "red", f"{plain(why)}; the old workers go on")
            case Forgotten(worker=worker):
                self._ended.pop(worker, None)
            case SpawnRequested() | Delayed() | Retired() if event.worker in self._ended:
                sign, text = self._ended.pop(event.worker)
                colour = "red" if sign == "✗" else "dim"
                yield self._line(str(event.worker), sign, colour, text + _consequence(event))

    def bounded(self, lines: list[str]) -> list[str]:
        """At most a screenful at once: a crash of everything must not drown the output of the workers."""
        if len(lines) <= _MOST_LINES:
            return lines
        rest = len(lines) - _MOST_LINES + 1
        return [*lines[: _MOST_LINES - 1], self._line("procq", "·", "dim", f"and {rest} more, see `procq events`")]

    def _line(self, subject: str, sign: str, colour: str, text: str) -> str:
        return f"{plain(subject):<{self._width}} {self._style(sign, colour)} {text}".rstrip()

    def _row(self, subject: str, middle: str, text: str) -> str:
        return f"{self._style.prefix(plain(subject), self._width)} {middle}{text}".rstrip()


def _consequence(event: SpawnRequested | Delayed | Retired) -> str:
    match event:
        case SpawnRequested():
            return "restarting now"
        case Delayed(until=until, at=at, attempt=attempt):
            return f"restarting in {duration(max(0.0, until - at))} (failure {attempt} in a row)"
        case Retired(why=Resting.FAILED | Resting.GAVE_UP):
            return f"giving up; `procq start {event.worker}` tries again"
        case Retired(why=Resting.COMPLETED):
            return "finished"
        case Retired():
            return "stopped"
