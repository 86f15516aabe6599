"""Before an upgrade: could this version be the control plane of what runs?"""

from __future__ import annotations

import os

from procq.engine.blob import unpack
from procq.intent_codec import Unreadable


def probe(fd: int) -> str | None:
    """Imports all that a control plane needs, and reads the intent in the file `fd`. Returns what is wrong."""
    from procq.api.app import create_app
    from procq.api.server import ApiServer

    del create_app, ApiServer
    with open(fd, "rb") as copy:
        # It came from a process that had it open: its position is anywhere.
        data = os.pread(copy.fileno(), os.fstat(copy.fileno()).st_size, 0)
    try:
        if data:
            unpack(data)
    except Unreadable as error:
        return str(error)
    return None
