"""procq started by `core.exec_host` itself, to choose what `procq up` does not let one choose."""

from __future__ import annotations

import sys
from typing import Any

from procq.cli.hosting import hosting
from tests.process.support.project import Procq
from tests.process.support.waiting import until

_HOST = """\
import marshal, sys
from procq import core
core.exec_host(core.Hosting(**marshal.load(sys.stdin.buffer)))
"""


def start_hosted(procq: Procq, *, may_fail: bool = False, **changes: Any) -> Procq:
    """As `procq up`, but for some fields of `core.Hosting`. Waits until it is ready, unless it `may_fail`."""
    procq.project.prepare()
    told = hosting(procq.project, None, color=False)
    fields = {name: getattr(told, name) for name in told.__slots__}
    procq.start_by([sys.executable, "-c", _HOST], fields | {"environ": None} | changes)
    if not may_fail:
        until(procq.ready, "procq to be ready")
    return procq
