"""Sends COUNT messages to its notify socket, as fast as they are taken, with totals; then it is ready, and waits."""

import os
import signal
import socket
import sys

count = int(sys.argv[1])
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
for number in range(1, count + 1):
    to.send(b"X_PROCQ_JOBS=%d\nX_PROCQ_FAILED=%d" % (number, number // 2))
to.send(b"READY=1")
signal.pause()
