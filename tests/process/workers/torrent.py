"""Writes COUNT lines `torrent N xxx…` as fast as it can, creates the file DONE, and stays. torrent.py COUNT DONE."""

import os
import signal
import sys

for start in range(0, int(sys.argv[1]), 1000):
    rest = b"".join(b"torrent %d %b\n" % (n, b"x" * 80) for n in range(start, min(int(sys.argv[1]), start + 1000)))
    while rest:
        rest = rest[os.write(1, rest) :]
os.close(os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY))
signal.pause()
