"""The environment of a worker: what procq was started with, what its queue adds, and who it is."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from procq import service
from procq.model import Queue, RestartWhen, User, WorkerId
from procq.telemetry.offer import offered

_MOST: Final = 2_048
"""Queues whose environment is remembered: a program may add and remove queues for ever."""


class Environments:
    """Builds environments; all of one that does not depend on the slot is made once a queue, while it is in use."""

    def __init__(self, environ: Mapping[bytes, bytes], traced: bool = False) -> None:
        """`traced`: whoever uses this sends traces, and in these the lives of workers."""
        self._life = _life() if traced else None
        # A program that owns its manager may be a service: what its manager hears is not for its workers to say.
        self._environ = {name: value for name, value in environ.items() if os.fsdecode(name) not in service.OURS}
        self._instance = 0
        self._templates: OrderedDict[str, tuple[Queue, str, tuple[bytes, ...]]] = OrderedDict()

    @property
    def instance(self) -> int:
        """The number of the keeper's life, told to workers in hexadecimal."""
        return self._instance

    @instance.setter
    def instance(self, instance: int) -> None:
        self._instance = instance
        self._templates.clear()

    def of(
        self, queue: Queue, project: str, worker: WorkerId, generation: int, looks_after: int | None = None
    ) -> list[bytes]:
        """`NAME=value` of everything a new worker sees, or a command that looks after a generation of it."""
        name = os.fsencode(worker.queue)
        variables = [
            *self._template(queue, project),
            b"PROCQ_SLOT=%d" % worker.slot,
            b"PROCQ_WORKER_ID=%b.%d" % (name, worker.slot),
            b"PROCQ_GENERATION=%d" % generation,
        ]
        if self._life is not None:
            life = self._life(self._instance, generation if looks_after is None else looks_after)
            variables.append(b"PROCQ_SPAN=" + life)
            if looks_after is None and queue.restart.when is RestartWhen.NEVER and "TRACEPARENT" not in queue.env:
                variables.append(b"TRACEPARENT=" + life)
        return variables

    def _template(self, queue: Queue, project: str) -> tuple[bytes, ...]:
        known = self._templates.get(queue.name)
        if known is not None and known[0] is queue and known[1] == project:
            self._templates.move_to_end(queue.name)
            return known[2]
        variables = {b"PYTHONUNBUFFERED": b"1", **self._environ, **_of_user(queue.user)}
        if queue.user is not None:
            variables.pop(b"XDG_RUNTIME_DIR", None)  # of whoever started procq, and closed to everybody else
        variables.update((os.fsencode(k), os.fsencode(v)) for k, v in queue.env.items())
        variables |= offered(variables, queue.name, project)
        variables |= {
            b"PROCQ_QUEUE": os.fsencode(queue.name),
            b"PROCQ_PROJECT": os.fsencode(project),
            b"PROCQ_INSTANCE": b"%x" % self._instance,
        }
        for own in (b"PROCQ_SLOT", b"PROCQ_WORKER_ID", b"PROCQ_GENERATION", b"PROCQ_SPAN"):
            variables.pop(own, None)
        template = tuple(b"%b=%b" % pair for pair in variables.items())
        self._templates[queue.name] = (queue, project, template)
        self._templates.move_to_end(queue.name)
        while len(self._templates) > _MOST:
            self._templates.popitem(last=False)
        return template


def _life() -> Callable[[int, int], bytes]:
    """What says the ids of a life, by instance and generation."""
    from procq.telemetry.life import boot_id, context_of, traceparent

    boot = boot_id()
    return lambda instance, generation: traceparent(context_of(boot, instance, generation)).encode()


def _of_user(user: User | None) -> dict[bytes, bytes]:
    """What a login would set: programs that look for their files in HOME must not find root's."""
    if user is None:
        return {}
    variables = {"USER": user.name, "LOGNAME": user.name, "HOME": user.home, "SHELL": user.shell}
    return {name.encode(): os.fsencode(value) for name, value in variables.items()}
