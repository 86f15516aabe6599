"""Works as told, and leaves on TERM, which it tells in `left`.

working.py jobs: says of one job after another that it is done. working.py job: is at a job that never ends.
working.py threads: twenty of them wait. working.py busy: uses a processor.
"""

import os
import signal
import socket
import sys
import threading
import time

how = sys.argv[1]


def leave(*_: object) -> None:
    with open("left", "a") as file:
        file.write(f"{os.getpid()}\n")
    os._exit(0)


def say(text: str) -> None:
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)


signal.signal(signal.SIGTERM, leave)
if how == "job":
    say("X_PROCQ_BUSY=1\nX_PROCQ_JOB=17 thumbnail")
if how == "threads":
    for _ in range(20):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
jobs = 0
while True:
    if how == "jobs":
        jobs += 1
        say(f"X_PROCQ_JOBS={jobs}")
    if how != "busy":
        time.sleep(0.02)
