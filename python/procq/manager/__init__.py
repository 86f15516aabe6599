"""procq inside a program of yours: workers that live and die with it.

with procq.Manager() as manager:
    manager.add("emails", ["celery", "-A", "shop", "worker", "-Q", "emails"], workers=2)
    manager.scale("emails", 4)
    for worker in manager.status():
        print(worker.id, worker.state, worker.pid)

The program takes the place of the control plane; a keeper, a process of its own, holds the workers. When the manager is
closed, or the program dies in any way, the keeper stops every worker as its stop policy says, and leaves.

    options, factory    how a worker runs, as a value; where such values come from
    team                what a manager does, in an asyncio loop
    sync, aio           the two faces: for any thread, and for the program's own loop
    reading, lines      what workers write
"""

from procq.manager.aio import AsyncManager, AsyncWorkerProcess
from procq.manager.errors import ManagerClosed, NoSuchQueue, NotStarted, StillRunning
from procq.manager.factory import WorkerFactory
from procq.manager.lines import Line
from procq.manager.options import WorkerOptions
from procq.manager.sync import Manager, WorkerProcess

__all__ = [
    "AsyncManager",
    "AsyncWorkerProcess",
    "Line",
    "Manager",
    "ManagerClosed",
    "NoSuchQueue",
    "NotStarted",
    "StillRunning",
    "WorkerFactory",
    "WorkerOptions",
    "WorkerProcess",
]
