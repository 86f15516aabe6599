"""Passes sockets to its notify socket whose closing waits: they linger, and their peers take nothing.

A child does it, and ends at once: who exits does not wait, and then nobody but the receiver holds them.
"""

import array
import os
import signal
import socket
import struct

COUNT = 4

listener = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    to.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
    full = []
    for _ in range(COUNT):
        ours = socket.create_connection(listener.getsockname())
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 2))
        ours.setblocking(False)
        try:
            while True:
                ours.send(bytes(65536))
        except BlockingIOError:
            full.append(ours)
    for ours in full:
        to.sendmsg([b"FDSTORE=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [ours.fileno()]))])
    to.send(b"READY=1")
    os._exit(0)
peers = [listener.accept() for _ in range(COUNT)]
signal.pause()
