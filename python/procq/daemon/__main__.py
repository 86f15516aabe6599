"""Entry point: `python -m procq.daemon --link-fd N --api-fd N --manifest FILE …`."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from procq.core import Link
from procq.daemon.options import Options, parse
from procq.daemon.plane import ControlPlane
from procq.engine.local import LocalKeeper
from procq.engine.loop import Engine

_SWITCH = 0.001
"""Seconds that a thread which reads a large manifest keeps the interpreter from the control loop, at most."""


async def run(options: Options) -> None:
    """Works until the keeper hangs up."""
    keeper = LocalKeeper(Link(options.link_fd, "control"), os.environb)
    await ControlPlane(Engine(keeper, time.monotonic), keeper, options).run()
    # The keeper is gone, or wants another control plane. Nothing here is worth a moment's delay.
    os._exit(0)


if __name__ == "__main__":
    sys.setswitchinterval(_SWITCH)
    asyncio.run(run(parse(sys.argv[1:])))
