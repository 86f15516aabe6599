"""The journal of this control plane: where it is, when it begins, and that its last rows are written."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from procq.daemon.options import Options
from procq.history import History
from procq.journal.record import FILE
from procq.journal.writer import Journal
from procq.paths import locate

_LAST = 0.5
"""Seconds for the last rows: the keeper waits a second for us, and kills."""


class Keeping:
    """Keeps what happens. `tell` hears of trouble; there is no journal where a project has no directory for it."""

    def __init__(self, options: Options, tell: Callable[[str], None]) -> None:
        project = locate(str(options.manifest), options.instance or None, os.environ)
        self.path = Path(project.state_dir) / FILE
        self.socket = project.keeper_socket
        self.journal = Journal(self.path, tell=tell) if self.path.parent.is_dir() else None

    def history(self) -> History:
        """A history whose events wait for `begin`."""
        return History(keep=self.journal is not None)

    async def begin(self, history: History) -> None:
        """Has events kept from now on, those too that came before. To be awaited before anybody reads them."""
        if self.journal is not None:
            history.attach(await self.journal.past(history.keeper), self.journal.event, self.journal.page)

    async def close(self) -> None:
        """Writes what is not written yet, if that does not take long."""
        if self.journal is not None:
            # Threads that hang may leave none to wait in.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST * 1.5):
                    await self.journal.close(_LAST)
