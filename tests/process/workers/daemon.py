"""Starts a daemon as the books say (fork, setsid, fork, no descriptor kept), then stays, or leaves with --leave CODE.

The daemon's pid goes to FILE once it has become one.
"""

import argparse
import os
import resource
import signal
import sys

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--ignore-term", action="store_true")
parser.add_argument("--clear-env", action="store_true")
parser.add_argument("--clear-mark", action="store_true")
parser.add_argument("--keep-pipes", action="store_true")
parser.add_argument("--leave", type=int)
options = parser.parse_args()

STAY = "import os, signal, sys\nopen(sys.argv[1] + '.draft', 'w').write(str(os.getpid()))\n" + (
    "os.rename(sys.argv[1] + '.draft', sys.argv[1])\nwhile True: signal.pause()"
)


def daemon() -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    if not options.keep_pipes:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
    if options.clear_mark:
        hard = resource.getrlimit(10)[1]  # RLIMIT_LOCKS has no name in Python
        resource.setrlimit(10, (hard, hard))
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    environ = {} if options.clear_env else dict(os.environ)
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", STAY, options.file], environ)


child = os.fork()
if not child:
    daemon()
os.waitpid(child, 0)
while not os.path.exists(options.file):
    os.sched_yield()
if options.leave is not None:
    os._exit(options.leave)
while True:
    signal.pause()
