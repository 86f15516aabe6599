"""Short ways to write queues and manifests in tests."""

from __future__ import annotations

from procq.model import Manifest, Queue, RestartPolicy, RestartWhen, WorkerId


def queue(name: str = "emails", workers: int = 1, command: str = "work", when: str = "always") -> Queue:
    return Queue(name, command, tuple(command.split()), workers=workers, restart=RestartPolicy(RestartWhen(when)))


def manifest(*queues: Queue) -> Manifest:
    return Manifest("shop", {q.name: q for q in queues})


EMAILS_1 = WorkerId("emails", 1)
EMAILS_2 = WorkerId("emails", 2)
EMAILS_3 = WorkerId("emails", 3)
