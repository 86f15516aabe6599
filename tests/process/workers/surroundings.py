"""Writes what it found itself in to FILE, as JSON, and leaves.

Only what it had at its start: it looks before it opens anything.
"""

import json
import os
import resource
import signal
import sys

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
umask = os.umask(0)
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
    "interrupt_is_default": signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
}
with open(f"{sys.argv[1]}.draft", "w") as draft:
    json.dump(found, draft)
os.rename(f"{sys.argv[1]}.draft", sys.argv[1])
