"""Workers that say one thing and end at once: nothing of it may be lost."""

from __future__ import annotations

import sys

from tests.process.support.keeper import Keeper

_SAY = """import os, socket
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.sendto(b"READY=1", chr(0) + os.environ["NOTIFY_SOCKET"][1:])
os._exit(0)
"""
_BY_CHILD = f"import os\nif os.fork():\n    os.wait()\n    os._exit(0)\n{_SAY}"
_AT_ONCE = 20


def notify_and_exit(keeper: Keeper, trials: int) -> None:
    """Half of them let a child say it, and end when they have reaped it."""
    for first in range(0, trials, _AT_ONCE):
        generations = [
            keeper.spawn([sys.executable, "-I", "-S", "-c", (_SAY, _BY_CHILD)[n % 2]], f"w.{n}", ready="notify")
            for n in range(min(_AT_ONCE, trials - first))
        ]
        keeper.all_of(generations, "gone")
        for generation in generations:
            kinds = keeper.kinds(generation)
            assert kinds == ["executing", "ready", "exited", "gone"], f"{generation} has said it and ended"
        keeper.events.clear()
