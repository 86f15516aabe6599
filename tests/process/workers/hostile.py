"""A control plane gone mad: starts one worker properly, ever after sends garbage, a new kind in each of its lives.

hostile.py COOKIE --link-fd=3 --api-fd=4
"""

import os
import random
import select
import struct
import sys

from procq import core

LINK = 3
link = core.Link(os.dup(LINK), "control")
link.send([{"t": "hello", "oldest": 1, "newest": 1}])
epoch = last = 0
while not epoch:
    select.select([link.fileno()], [], [])
    for event in link.drain():
        if event["t"] == "welcome":
            epoch, last = event["epoch"], event["last_generation"]
if epoch == 1:
    environ = [b"PATH=/usr/bin:/bin", b"PROCQ_TEST_COOKIE=" + sys.argv[1].encode()]
    spawn = {"t": "spawn", "worker": "w.1", "generation": 1, "fingerprint": "f", "argv": [b"sleep", b"1000"]}
    link.send([spawn | {"env": environ}, {"t": "ready"}])
seeded = random.Random(epoch)


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


STOP = b"\x83\xa1t\xa4stop\xa6worker\xa3w.1\xaageneration\x01"
match epoch % 5:
    case 1:
        garbage = struct.pack("<I", 0xFFFFFFFF)
    case 2:
        garbage = seeded.randbytes(100_000)
    case 3:
        garbage = frame(STOP.replace(b"stop", b"spaw")) + frame(seeded.randbytes(50))
    case 4:
        garbage = frame(STOP.replace(b"\x01", b"\xff")) * 100
    case _:
        garbage = frame(b"\x81\xa1t\xa5spawn") + frame(STOP[:-1])
os.write(LINK, garbage)
while True:
    select.select([link.fileno()], [], [])
    link.drain()
