"""Makes COUNT orphans that wait until somebody opens FIFO for writing, then end. How many it could make goes to FILE.

orphans.py FIFO COUNT FILE
"""

import os
import signal
import sys

fifo, count, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
reader, writer = os.pipe()


def make() -> None:
    """One parent for all: when it has left they are orphans."""
    made = 0
    for _ in range(count):
        try:
            child = os.fork()
        except OSError:
            break
        if not child:
            os.open(fifo, os.O_RDONLY)
            os._exit(0)
        made += 1
    os.write(writer, b"%d" % made)
    os._exit(0)


parent = os.fork()
if not parent:
    make()
os.waitpid(parent, 0)
with open(f"{file}.draft", "wb") as draft:
    draft.write(os.read(reader, 100))
os.rename(f"{file}.draft", file)
while True:
    signal.pause()
