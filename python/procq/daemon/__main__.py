"""Entry point: `python -m procq.daemon --link-fd N --api-fd N --manifest FILE …`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time

from procq.core import Link
from procq.daemon.options import Options, parse
from procq.daemon.plane import ControlPlane
from procq.daemon.probe import probe
from procq.engine.driver import Source
from procq.engine.local import LocalKeeper
from procq.engine.loop import Engine
from procq.telemetry.offer import leave_cause, traced

_SWITCH = 0.001
"""Seconds that a thread which reads a large manifest keeps the interpreter from the control loop, at most."""


_LAST_WORDS = 1.0
"""Seconds for the keeper to take what it has been sent."""
_PAUSE = 0.005


async def run(options: Options) -> None:
    """Works until the keeper hangs up, or asks it to leave."""
    link = Link(options.link_fd, "control")
    if tracing := traced(os.environ):
        leave_cause(os.environ)
    engine, keeper = _engine(options, LocalKeeper(link, os.environb, tracing))
    running = asyncio.create_task(ControlPlane(engine, keeper, options).run())
    # Once no worker is left the keeper asks us to leave: what is to be written or sent last is finished first.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await _hand_over(link)
    # The keeper is gone, or wants another control plane. Nothing here is worth a moment's delay.
    os._exit(0)


def _engine(options: Options, keeper: LocalKeeper) -> tuple[Engine, Source]:
    if not options.verbose:
        return Engine(keeper, time.monotonic), keeper
    from procq.daemon.tracing import overheard

    return overheard(keeper, options)


async def _hand_over(link: Link) -> None:
    """What was said last counts: the keeper takes it, if it is still there."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_LAST_WORDS):
            while link.pending():
                link.send([])
                await asyncio.sleep(_PAUSE)


def main(options: Options) -> None:
    """Is the control plane, or says whether it could be."""
    if options.probe_fd >= 0:
        sys.exit(probe(options.probe_fd))
    sys.setswitchinterval(_SWITCH)
    asyncio.run(run(options))


if __name__ == "__main__":
    main(parse(sys.argv[1:]))
