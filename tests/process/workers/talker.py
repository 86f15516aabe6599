"""Says that it is ready, passes a barrier as systemd-notify does, then tells that it lives, and of its jobs.

`talker.py SILENT`: once the file SILENT is there, it says nothing more.
"""

import os
import socket
import sys
import time

silent = sys.argv[1]
address = os.environ["NOTIFY_SOCKET"]
jobs = 0
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
    ear.connect("\0" + address[1:] if address.startswith("@") else address)
    ear.send(b"READY=1")
    read, write = os.pipe()
    socket.send_fds(ear, [b"BARRIER=1"], [write])
    os.close(write)
    os.read(read, 1)  # its end says that all before it was heard
    while not os.path.exists(silent):
        jobs += 1
        ear.send(f"WATCHDOG=1\nX_PROCQ_JOBS={jobs}".encode())
        time.sleep(0.05)
time.sleep(1000)
