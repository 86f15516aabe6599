"""Writes numbered lines, one a write, each beginning with its arguments: `LABEL 0`, `LABEL 1` …

lines.py LABEL [COUNT [PAUSE]]: without COUNT, or with 0, for ever. Ends with 0 on TERM, never inside a line.
"""

import itertools
import os
import signal
import sys
import time

label = sys.argv[1].encode()
count = int(sys.argv[2]) if len(sys.argv) > 2 else 0
pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.001
asked: list[int] = []
signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
for n in range(count) if count else itertools.count():
    os.write(1, b"%b %d\n" % (label, n))
    if asked:
        break
    time.sleep(pause)
os.write(1, b"%b end\n" % label)
