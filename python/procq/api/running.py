"""Start, stop and restart: changes of what is wanted for some queues and workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http import HTTPStatus

from procq import intent, wire
from procq.api.control import Control
from procq.api.problems import ApiError, bad_request
from procq.intent import Intent
from procq.targets import Target, workers
from procq.text import listing


def set_running(control: Control, targets: Sequence[Target], running: object) -> wire.Affected:
    """Starts or stops `targets`. Raises ApiError where `running` is not a boolean, or a queue is being emptied."""
    if not isinstance(running, bool):
        raise bad_request('"running" must be true or false')
    if running:
        return _apply(control, targets, partial(intent.start, targets=targets, now=control.now()), "started")
    return _apply(control, targets, partial(intent.stop, targets=targets), "stopped")


def restart(control: Control, targets: Sequence[Target]) -> wire.Affected:
    """Replaces the workers of `targets` that run now."""
    generation = control.view().last_generation
    return _apply(control, targets, partial(intent.restart, targets=targets, generation=generation), "restarted")


def _apply(control: Control, targets: Sequence[Target], change: Callable[[Intent], Intent], done: str) -> wire.Affected:
    affected = affected_by(control, targets)
    if targets:
        try:
            control.change(change, f"{listing([str(target) for target in targets])} {done} by hand")
        except KeyError as error:
            raise ApiError(
                HTTPStatus.CONFLICT, f'"{error.args[0]}" is being emptied: it is no longer in the manifest'
            ) from None
    return affected


def affected_by(control: Control, targets: Iterable[Target]) -> wire.Affected:
    """The workers and queues of `targets`."""
    ids = workers(control.view(), targets)
    return wire.Affected(tuple(map(str, ids)), tuple(dict.fromkeys(each.queue for each in ids)))
