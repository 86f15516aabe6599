"""For tests of your own: what a manifest does, without processes and without waiting.

    with ManifestTest("procq.yaml") as test:
        test.script("emails", exits(1, after=5))
        test.advance(60)
        assert test.queue("emails").restarts == 8

`ManifestTest` runs a manifest on an engine like that of `procq up`; the processes are scripts, and time passes only by
`advance`. Beneath it are a `Rig`, a `FakeKeeper` and a `VirtualClock`, for tests of procq itself.
"""

from procq.testing.clock import VirtualClock
from procq.testing.keeper import FakeKeeper
from procq.testing.manifest import ManifestTest
from procq.testing.rig import Livelock, Rig
from procq.testing.script import (
    NOT_FOUND,
    TOO_MANY_PROCESSES,
    Casting,
    Script,
    cannot_start,
    crashes,
    everyone,
    exits,
    hangs,
    never_ready,
    reaches,
    runs,
    unkillable,
)

__all__ = [
    "NOT_FOUND",
    "TOO_MANY_PROCESSES",
    "Casting",
    "FakeKeeper",
    "Livelock",
    "ManifestTest",
    "Rig",
    "Script",
    "VirtualClock",
    "cannot_start",
    "crashes",
    "everyone",
    "exits",
    "hangs",
    "never_ready",
    "reaches",
    "runs",
    "unkillable",
]
