"""Leaves COUNT processes without a parent, each of which lives for SECONDS, and ends. strangers.py COUNT SECONDS."""

import os
import sys
import time

for _ in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        if not os.fork():
            time.sleep(float(sys.argv[2]))
        os._exit(0)
    os.waitpid(child, 0)
print("left")
