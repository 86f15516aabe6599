"""A systemd unit for a manifest. Pure: text from values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from procq.model import Queue

MARGIN = 30
"""Seconds that the end may take beyond the grace periods."""
_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./~-]+\Z")


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit is made of. `arguments` follow `procq`; `user` is None for a unit of the user's own manager.

    `reloads` tells whether that systemd knows `Type=notify-reload` (253 and later).
    """

    name: str
    procq: str
    arguments: tuple[str, ...]
    directory: str
    path: str
    grace: float
    user: str | None
    uid: int
    reloads: bool


def longest_stop(queues: Iterable[Queue]) -> float:
    """Seconds in which everything has stopped: wave after wave, each with its longest grace period."""
    waves: dict[int, float] = {}
    for queue in queues:
        waves[queue.wave] = max(waves.get(queue.wave, 0.0), queue.stop.grace)
    return sum(waves.values())


def render(unit: Unit) -> str:
    """The text of the unit."""
    own = unit.user is None
    target = "default.target" if own else "multi-user.target"
    after = "" if own else "Wants=network-online.target\nAfter=network-online.target\n"
    command = " ".join(_word(word) for word in (unit.procq, *unit.arguments))
    kind = "Type=notify-reload" if unit.reloads else "Type=notify\nExecReload=/bin/kill -HUP $MAINPID"
    return f"""\
[Unit]
Description=procq {_text(unit.name)}
{after}
[Service]
{kind}
NotifyAccess=main
ExecStart={command}
WorkingDirectory={_path(unit.directory)}
Environment={_word(f"PATH={unit.path}")}
{_place(unit)}
# procq has a time limit for every step of a start, and says itself how long a stop may take.
TimeoutStartSec=infinity
TimeoutStopSec={round(unit.grace + MARGIN)}
Restart=on-failure
RestartSec=1
# The manifest is not valid, or there is none: trying again would not help.
RestartPreventExitStatus=4 64

# The main process stops the workers; systemd kills what is left after that.
KillMode=mixed
WatchdogSec=2min
WatchdogSignal=SIGTERM

# A cgroup for each worker. One that the kernel kills for lack of memory is replaced, and the others live.
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
{_hardening(own)}
[Install]
WantedBy={target}
"""


def _place(unit: Unit) -> str:
    if unit.user is None:
        return ""
    return f"""\
User={unit.user}
# For the sockets: /run/user comes and goes with logins.
RuntimeDirectory=procq-{unit.uid}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
"""


def _hardening(own: bool) -> str:
    """What no worker needs. Nothing here hides files, or takes rights that a `user:` in the manifest needs."""
    if own:
        return ""
    return """
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
"""


def _word(word: str) -> str:
    """A word of a command as systemd reads it."""
    word = word.replace("%", "%%").replace("$", "$$") if not word.startswith("PATH=") else word.replace("%", "%%")
    if _BARE.match(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _path(path: str) -> str:
    """A path up to the end of the line."""
    return path.replace("%", "%%")


def _text(text: str) -> str:
    return text.replace("%", "%%")
