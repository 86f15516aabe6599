"""The ledger as it grows: who lives, by what the players wrote and by /proc."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.ledger import Entry, Process, alive, parse
from tests.process.support import processes


class Players:
    """Reads what was added since the last look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[Entry] = []
        self._read = 0
        self._candidates: dict[Process, Entry] = {}
        self._daemons: set[int] = set()

    def look(self) -> None:
        """Takes what is new."""
        ledger = self.folder / "ledger"
        if not ledger.exists():
            return
        with open(ledger, "rb") as file:
            file.seek(self._read)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        self._read += len(new)
        for entry in parse(new.decode()):
            self.entries.append(entry)
            if entry.what == "born":
                self._candidates[entry.process] = entry
            elif entry.what == "daemon":
                self._daemons.add(int(entry.about))

    def living(self) -> set[Process]:
        """Those that were born and have not ended."""
        self.look()
        self._candidates = {process: entry for process, entry in self._candidates.items() if alive(process)}
        return set(self._candidates)

    def leader(self, worker: str) -> Process | None:
        """The one that lives in a slot."""
        self.living()
        return next((process for process, entry in self._candidates.items() if entry.worker == worker), None)

    def daemons(self) -> list[int]:
        """What players have left behind, and lives."""
        self.look()
        self._daemons = {pid for pid in self._daemons if processes.exists(pid)}
        return sorted(self._daemons)
