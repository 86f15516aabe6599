"""What the policy says of its decisions. Pure."""

from __future__ import annotations

import math

from procq.scaling.demand import Shortfall
from procq.scaling.signals import Signals
from procq.text import count


def seconds(value: float) -> str:
    """`0.4 s`, `12 s`, `1200 s`: one unit, so that numbers of a sentence can be compared."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"


def workers(number: float) -> str:
    """`1 worker`, `12 workers`."""
    return count(math.ceil(number), "worker")


def jobs(number: float) -> str:
    """`1 job`, `12 jobs`."""
    return count(math.ceil(number), "job")


def up(lack: Shortfall, more: int, waiting: float, winner: str) -> str:
    """Why workers are started."""
    if winner == "floor":
        return f"bursts like those before need {more} more, which would be too late when they come"
    wait = _wait(waiting)
    which = "it" if math.ceil(lack.jobs) == 1 else f"number {math.ceil(lack.jobs)} in line"
    if not math.isfinite(lack.starts):
        return f"{wait}, and no worker would start {which} within {seconds(lack.within)}: {more} more"
    if lack.starts <= lack.within:
        return f"{wait}, and {which} should start within {seconds(lack.within)}: {more} more"
    return f"{wait}, and {which} would start in {seconds(lack.starts)}, later than {seconds(lack.within)}: {more} more"


def keep(signals: Signals, target: int, winner: str, kept_for: float, waiting: float) -> str:
    """Why no worker is started, and whether some are stopped."""
    fewer, live = signals.live - target, signals.live
    if not live:
        if waiting:
            return f"{_wait(waiting)}, and a worker that is started later is in time for more of them"
        return "no job waits and no worker is there"
    if fewer > 0:
        most = f"no more than {target} {_were(target)}" if target else "none was"
        when = f"in the last {seconds(kept_for)}" if kept_for >= 1 else "any more"
        return f"{most} needed {when}: {fewer} fewer"
    if waiting:
        return f"{_wait(waiting)}, and {workers(live)} will start {'it' if math.ceil(waiting) == 1 else 'them'} in time"
    if winner == "floor":
        return f"{workers(target)} {'is' if target == 1 else 'are'} kept for bursts like those before"
    if signals.idle and winner == "retention":
        return needed(target, kept_for)
    return f"{workers(live)} {'has' if live == 1 else 'have'} work, and no job waits too long"


def needed(number: int, within: float) -> str:
    """Why so many workers stay."""
    return f"{workers(number)} {_were(number)} needed within the last {seconds(within)}"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _wait(waiting: float) -> str:
    return f"{jobs(waiting)} {'waits' if math.ceil(waiting) == 1 else 'wait'}"
