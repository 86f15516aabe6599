"""Where the queues of a manager come from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from procq.manager.errors import NoSuchQueue
from procq.manager.factory import WorkerFactory
from procq.manifest import load
from procq.model import Manifest, Queue
from procq.paths import MANIFESTS

Path_ = str | os.PathLike[str]


def first(manifest: Path_ | None) -> Manifest:
    """What a manager begins with. Raises ManifestError."""
    return Manifest("manager", {}, os.getcwd()) if manifest is None else load(Path(manifest), os.environ)


def find(name: str, factory: WorkerFactory | None) -> Queue:
    """The queue `name`, which was not added: made by `factory`, else as the manifest in this directory describes it.

    Raises NoSuchQueue where neither is there, ManifestError, and ValueError for a name that cannot be.
    """
    if factory is not None:
        return factory(name).queue(name)
    for file in MANIFESTS:
        if os.path.exists(file):
            queues = load(Path(file), os.environ).queues
            if name in queues:
                # By itself: queues that should have started before it are not here, and would be waited for.
                return replace(queues[name], after=(), wave=0)
            raise NoSuchQueue(
                f'there is no queue "{name}", neither added nor in {os.path.abspath(file)}',
                hint=f"`add` makes one. The file has: {', '.join(queues)}.",
            )
    raise NoSuchQueue(
        f'there is no queue "{name}"',
        hint="`add` makes one, a `factory` given to the manager makes any, and so does a procq.yaml in this directory.",
    )
