"""An engine on a fake keeper and a virtual clock, ready to run.

rig = Rig(manifest, everyone(Script(run_for=5, exit_code=1)))
rig.advance(60)
assert rig.engine.snapshot().streak(WorkerId("emails", 1)).crashes > 3
"""

from __future__ import annotations

from typing import Final

from procq.engine.loop import Engine, Subscriber
from procq.model import Manifest
from procq.testing.clock import VirtualClock
from procq.testing.keeper import FakeKeeper
from procq.testing.script import Casting, Script, everyone

_MOST_TURNS: Final = 1_000


class Livelock(AssertionError):
    """Engine and keeper went on talking without time passing."""


class Rig:
    """Runs the conversation between `engine` and `keeper` on `clock`; `listener` is told what happens."""

    def __init__(self, manifest: Manifest, casting: Casting | None = None, listener: Subscriber | None = None) -> None:
        self.clock = VirtualClock()
        self.keeper = FakeKeeper(self.clock, casting or everyone(Script()))
        self._listener = listener
        self.engine = self._control_plane()
        self.keeper.attach()
        self.engine.adopt(manifest, "test")
        self.settle()

    def settle(self) -> None:
        """Lets both talk until neither has anything to say at this moment. Raises Livelock."""
        for _ in range(_MOST_TURNS):
            self.keeper.fire()
            sent = len(self.keeper.commands)
            events = self.keeper.take()
            self.engine.handle(events)
            self.engine.step()
            due = self._next()
            quiet = not events and sent == len(self.keeper.commands)
            if quiet and (due is None or due > self.clock.now):
                return
        raise Livelock(f"still talking after {_MOST_TURNS} turns at {self.clock.now}: {self.keeper.commands[-3:]}")

    def advance(self, seconds: float) -> None:
        """Lets time pass, from one thing that happens to the next."""
        end = self.clock.now + seconds
        self.settle()
        while self.advance_to_next(end):
            pass

    def advance_to_next(self, end: float) -> bool:
        """Lets time pass until something happens, at most to `end` on the clock; False when it has come to that."""
        due = self._next()
        happens = due is not None and due <= end
        self.clock.to(max(due, self.clock.now) if due is not None and happens else end)
        self.settle()
        return happens

    def adopt(self, manifest: Manifest) -> None:
        """Puts another manifest in force, and settles."""
        self.engine.adopt(manifest, "test")
        self.settle()

    def replace_control_plane(self) -> None:
        """The control plane dies at once, another one attaches and knows only what the keeper tells it."""
        self.engine = self._control_plane()
        self.keeper.attach()
        self.settle()

    def _control_plane(self) -> Engine:
        engine = Engine(self.keeper, self.clock)
        if self._listener is not None:
            engine.subscribe(self._listener)
        return engine

    def _next(self) -> float | None:
        return min((t for t in (self.keeper.next_at, self.engine.wake_at) if t is not None), default=None)
