"""For tests of your own: a scripted keeper without processes, and a clock that only you move."""

from procq.testing.clock import VirtualClock
from procq.testing.keeper import FakeKeeper
from procq.testing.rig import Livelock, Rig
from procq.testing.script import NOT_FOUND, TOO_MANY_PROCESSES, Casting, Script, everyone

__all__ = [
    "NOT_FOUND",
    "TOO_MANY_PROCESSES",
    "Casting",
    "FakeKeeper",
    "Livelock",
    "Rig",
    "Script",
    "VirtualClock",
    "everyone",
]
