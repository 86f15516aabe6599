"""Writes `ID STREAM N` to both of its outputs, N from 0 to COUNT - 1, and stays. numbered.py COUNT."""

import os
import signal
import sys

name = os.environ["PROCQ_WORKER_ID"].encode()
count = int(sys.argv[1])
for start in range(0, count, 100):
    for descriptor, stream in ((1, b"stdout"), (2, b"stderr")):
        numbers = range(start, min(count, start + 100))
        os.write(descriptor, b"".join(b"%b %b %d\n" % (name, stream, n) for n in numbers))
signal.pause()
