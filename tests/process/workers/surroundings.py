"""Writes what it found itself in to FILE, as JSON, and leaves.

Only what it had at its start: it looks before it opens anything.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable

open_ones = {}
for number in range(256):
    try:
        os.fstat(number)
    except OSError:
        continue
    open_ones[number] = os.readlink(f"/proc/self/fd/{number}")
with open("/proc/self/status") as status:
    masks = {
        k: int(v, 16)
        for k, v in (line.split(":", 1) for line in status if line[:3] in ("Sig", "Shd"))
        if k in ("SigBlk", "SigIgn", "SigCgt")
    }
    status.seek(0)
    capabilities = {line[:6]: int(line.split()[1], 16) for line in status if line[:6] in ("CapInh", "CapPrm", "CapEff")}
umask = os.umask(0)


def regained(call: Callable[..., None], *ids: object) -> bool:
    """Whether it came back to what it must not be."""
    try:
        call(*ids)
    except OSError:
        return False
    return True


found = {
    "descriptors": open_ones,
    "masks": masks,
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "umask": umask,
    "directory": os.getcwd(),
    "environment": dict(os.environ),
    "pid": os.getpid(),
    "group": os.getpgid(0),
    "session": os.getsid(0),
    "identity": [os.getresuid(), os.getresgid(), sorted(os.getgroups())],
    "capabilities": capabilities,
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"},
    "terminals": [os.isatty(number) for number in range(3)],
    "size": tuple(os.get_terminal_size(1)) if os.isatty(1) else None,
    "foreground": os.tcgetpgrp(1) if os.isatty(1) else None,
    "interrupt_is_default": signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
}
if os.getuid():
    found["regained"] = [
        *(regained(call, 0) for call in (os.setuid, os.seteuid, os.setgid, os.setegid)),
        regained(os.setresuid, 0, 0, 0),
        regained(os.setgroups, []),
    ]
with open(f"{sys.argv[1]}.draft", "w") as draft:
    json.dump(found, draft)
os.rename(f"{sys.argv[1]}.draft", sys.argv[1])
