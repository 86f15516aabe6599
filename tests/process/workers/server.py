"""Serves HTTP on a port once it may, and answers as files in its directory say. Leaves on TERM, and says so in `left`.

server.py PORT: listens when `open` is there; /ready is 200 when `ready` is there, else 503; /healthz is 503 when `sick`
or `sick.SLOT` is there, else 200; answers nothing while `mute` is there. Every question is a line of `asked.SLOT`.
"""

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, slot = int(sys.argv[1]), os.environ["PROCQ_SLOT"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        with open(f"asked.{slot}", "a") as file:
            file.write(f"{os.getpid()} {self.path}\n")
        while os.path.exists("mute"):
            time.sleep(0.01)
        sick = os.path.exists("sick") or os.path.exists(f"sick.{slot}")
        good = os.path.exists("ready") if self.path == "/ready" else not sick
        self.send_response(200 if good else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def leave(*_: object) -> None:
    with open("left", "a") as file:
        file.write(f"{slot} {os.getpid()}\n")
    os._exit(0)


signal.signal(signal.SIGTERM, leave)
while not os.path.exists("open"):
    time.sleep(0.005)
ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
