"""Start, stop, pause, resume and restart: changes of what is wanted for some queues and workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from procq import intent, wire
from procq.api.control import Control
from procq.api.problems import ApiError, bad_request
from procq.intent import DesiredQueue, Intent, desired_queue
from procq.plan.crew import places
from procq.targets import Target, workers
from procq.text import listing
from procq.views import queue_names

if TYPE_CHECKING:
    from procq.engine.view import StateView

Change = tuple[Callable[[Intent], Intent], str]
"""What becomes of the intent, and how that is called afterwards."""


def running_change(control: Control, targets: Sequence[Target], running: object) -> Change:
    """Starts or stops `targets`. Raises ApiError where `running` is not a boolean."""
    if not isinstance(running, bool):
        raise bad_request('"running" must be true or false')
    if running:
        return partial(intent.start, targets=targets, now=control.now()), "started"
    return partial(intent.stop, targets=targets), "stopped"


def pausing_change(targets: Sequence[Target], paused: object) -> Change:
    """Pauses or resumes `targets`. Raises ApiError where `paused` is not a boolean."""
    if not isinstance(paused, bool):
        raise bad_request('"paused" must be true or false')
    return partial(intent.pause if paused else intent.resume, targets=targets), "paused" if paused else "resumed"


def change_workers(control: Control, targets: Sequence[Target], changes: Mapping[str, object]) -> wire.Affected:
    """What `changes` says of `running` and `paused`: all of it or nothing."""
    wanted = []
    if "running" in changes:
        wanted.append(running_change(control, targets, changes["running"]))
    if "paused" in changes:
        wanted.append(pausing_change(targets, changes["paused"]))
    return _about(control, targets, *wanted)


def restart(control: Control, targets: Sequence[Target], rolling: bool = False) -> wire.Affected:
    """Replaces the workers of `targets` that run now, all at once or `rolling`."""
    generation = control.view().last_generation
    change = partial(intent.restart, targets=targets, generation=generation, rolling=rolling)
    return _about(control, targets, (change, "restarted, rolling," if rolling else "restarted"))


def apply(control: Control, subject: str, changes: Sequence[Change]) -> None:
    """Makes all of `changes` or none. Raises ApiError for a queue that is being emptied and for what is no number."""

    def all_of_them(wanted: Intent) -> Intent:
        for change, _ in changes:
            wanted = change(wanted)
        return wanted

    try:
        control.change(all_of_them, f"{subject} {listing([done for _, done in changes])} by hand")
    except KeyError as error:
        why = f'"{error.args[0]}" is being emptied: it is no longer in the manifest'
        raise ApiError(HTTPStatus.CONFLICT, why) from None
    except ValueError as error:
        raise bad_request(str(error)) from None


def _about(control: Control, targets: Sequence[Target], *changes: Change) -> wire.Affected:
    affected = affected_by(control, targets)
    if targets:
        apply(control, listing([str(target) for target in targets]), changes)
    return affected


def affected_by(control: Control, targets: Iterable[Target]) -> wire.Affected:
    """The workers and queues of `targets`, without workers that are more than wanted: these leave anyway."""
    view = control.view()
    named = ((name, _desired(view, name)) for name in queue_names(view))
    crews = {name: places(desired, view.queue(name)) for name, desired in named if desired is not None}
    ids = [worker for worker in workers(view, targets) if worker.slot in crews.get(worker.queue, (worker.slot,))]
    return wire.Affected(tuple(map(str, ids)), tuple(dict.fromkeys(each.queue for each in ids)))


def _desired(view: StateView, name: str) -> DesiredQueue | None:
    return desired_queue(view.intent, name) if view.intent else None
