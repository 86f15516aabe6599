"""The manifest of the chaos suite: queues of several kinds of players."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLAYER = Path(__file__).parent / "workers" / "player.py"
COUNTS = {"lines": 3, "jobs": 3, "hurt": 2, "crash": 3, "daemon": 2, "stubborn": 1, "slow": 2}
MOST = 5
"""Workers that a queue may be scaled to."""
FOLDERS = ("slots", "progress", "todo", "doing", "done")

_GRACE = {"daemon": "500ms", "stubborn": "500ms"}


@dataclass(slots=True)
class Cast:
    """What the manifest says now. `life` names the folder of its log files, so that each keeper has its own."""

    folder: Path
    disk: Path
    life: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict(COUNTS))
    tweaks: dict[str, int] = field(default_factory=dict)

    def prepare(self) -> None:
        """Folders of this life."""
        for name in (*FOLDERS, f"logs-{self.life}"):
            (self.folder / name).mkdir(exist_ok=True)
        self.disk.mkdir(exist_ok=True)

    def text(self) -> str:
        """The manifest."""
        return "queues:\n" + "".join(self._queue(name, count) for name, count in self.counts.items())

    def _queue(self, name: str, count: int) -> str:
        command = " ".join([sys.executable, "-I", "-S", str(PLAYER), str(self.folder), name])
        logs: Mapping[str, tuple[str, ...]] = {
            "lines": (f"file: logs-{self.life}/lines-{{slot}}.log", "rotate: 64KB", "keep: 1000"),
            "hurt": (f"file: {self.disk}/hurt-{{slot}}.log",),
        }
        lines = [
            f"  {name}:",
            f"    command: {command}",
            f"    workers: {count}",
            "    stop:",
            f"      grace: {_GRACE.get(name, '10s')}",
            "    env:",
            f"      TWEAK: '{self.tweaks.get(name, 0)}'",
        ]
        if name == "crash":
            lines += ["    restart:", "      backoff: 10ms..300ms"]
        if name in logs:
            lines += ["    logs:", *(f"      {line}" for line in logs[name])]
        return "".join(f"{line}\n" for line in lines)
