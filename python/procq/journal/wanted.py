"""Which events somebody wants to see, and the kinds that there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from procq.errors import UsageError, did_you_mean
from procq.wire import EventView

KINDS: Final = {
    "started": "a worker executes",
    "ready": "it is ready",
    "start_failed": "it cannot be started",
    "exited": "it ended unasked",
    "left": "it ended because it was asked to",
    "stopping": "it was asked to leave",
    "killed": "processes of it had to be killed",
    "unkillable": "SIGKILL does not end it",
    "condemned": "a check or a limit wants it replaced",
    "delayed": "it starts again later",
    "rests": "it stays stopped, or has finished",
    "gave_up": "it failed too often",
    "configured": "its settings were renewed",
    "refused": "the keeper refused something",
    "unasked": "a question about it could not be asked",
    "log_trouble": "a log file cannot be written, or can again",
    "scaled": "a queue has another number of workers by its load",
    "roll_out_halted": "a roll-out goes no further",
    "changed": "somebody changed something, or saved the manifest",
    "reload_failed": "the manifest on disk is not valid",
    "watch_failed": "the manifest cannot be watched",
    "intent_lost": "what was changed by hand is forgotten",
    "control_plane": "another control plane took over",
    "shutting_down": "everything is stopped",
    "stray": "a process belongs to no worker",
    "trouble": "something else is wrong",
    "gap": "events are forgotten here",
}
"""Kinds of events, each with what it says."""
_GROUPS: Final = {"crashed": ("exited", "start_failed", "gave_up")}
"""Words for several kinds."""
_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Events of these queues and workers (names, or patterns over either), of these kinds, between two times.

    Times are in seconds since the epoch. What is empty or None leaves nothing out.
    """

    targets: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None

    def takes(self, event: EventView) -> bool:
        """Whether this is one of them."""
        if self.kinds and event.kind not in self.kinds:
            return False
        if (self.since is not None and event.at < self.since) or (self.until is not None and event.at > self.until):
            return False
        return not self.targets or self._is_about(event)

    def among(self, events: Iterable[EventView]) -> list[EventView]:
        """Those of them."""
        return [event for event in events if self.takes(event)]

    def _is_about(self, event: EventView) -> bool:
        names = [name for name in (event.queue, event.worker) if name is not None]
        return any(fnmatchcase(name, word) for word in self.targets for name in names)


def wanted(
    targets: Sequence[str] = (), kinds: Sequence[str] = (), since: float | None = None, until: float | None = None
) -> Wanted:
    """Each of `kinds` may name several, with commas between them. Raises UsageError for one that there is not."""
    words = [word.strip() for text in kinds for word in text.split(",")]
    if len(targets) > _MOST or len(words) > _MOST:
        raise UsageError(f"more than {_MOST} targets or kinds", hint="Use patterns.")
    found: set[str] = set()
    for word in filter(None, words):
        if word not in KINDS and word not in _GROUPS:
            hint = did_you_mean(word, (*KINDS, *_GROUPS), f"kinds are {', '.join((*KINDS, *_GROUPS))}")
            raise UsageError(f'"{word[:40]}" is no kind of event', hint=hint[0].upper() + hint[1:])
        found.update(_GROUPS.get(word, (word,)))
    return Wanted(tuple(targets), frozenset(found), since, until)
