"""Writes numbered lines at a rate, and never more than a few chunks ahead of who reads them.

flood.py CREDITS CHUNKS RATE: CHUNKS times LINES lines of LINE bytes, RATE bytes a second. Beyond the first AHEAD chunks
each needs a byte from the FIFO CREDITS.
"""

import os
import sys
import time

LINE = 100
LINES = 600
AHEAD = 6


def chunk(number: int) -> bytes:
    first = number * LINES
    return b"".join(b"%010d %s\n" % (n, b"x" * (LINE - 12)) for n in range(first, first + LINES))


if __name__ == "__main__":
    credits, chunks, rate = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2]), float(sys.argv[3])
    began = time.monotonic()
    for number in range(chunks):
        if number >= AHEAD:
            os.read(credits, 1)
        rest = chunk(number)
        while rest:
            rest = rest[os.write(1, rest) :]
        time.sleep(max(0.0, began + number * LINE * LINES / rate - time.monotonic()))
