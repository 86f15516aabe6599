"""Uses memory as told, and leaves on TERM, which it tells in `left`.

hungry.py leak MIB: that much more when `leak` is there. hungry.py share MIB: four children map the same memory, and
touch all of it. hungry.py escape MIB: a daemon of its own uses it when `leak` is there.
"""

import mmap
import os
import signal
import sys
import time

how, size = sys.argv[1], int(sys.argv[2]) << 20
slot = os.environ.get("PROCQ_SLOT", "1")


def leave(*_: object) -> None:
    with open("left", "a") as file:
        file.write(f"{slot} {os.getpid()}\n")
    os._exit(0)


signal.signal(signal.SIGTERM, leave)


def fill(memory: mmap.mmap | bytearray) -> None:
    for at in range(0, size, 4096):
        memory[at] = 1


def wait_for(name: str) -> None:
    while not os.path.exists(name):
        time.sleep(0.005)


if how == "share":
    shared = mmap.mmap(-1, size)
    fill(shared)
    for _ in range(4):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sum(shared[at] for at in range(0, size, 4096))
            with open(f"touched.{slot}", "a") as file:
                file.write("x")
            signal.pause()
elif how == "escape" and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open("escaped", "w") as file:
            file.write(str(os.getpid()))
        wait_for("leak")
        private = bytearray(size)
        fill(private)
        signal.pause()
    os._exit(0)
elif how == "escape":
    os.wait()
elif how == "leak":
    wait_for("leak")
    private = bytearray(size)
    fill(private)
while True:
    signal.pause()
