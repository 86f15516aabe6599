"""One worker of the chaos suite. Everything it does stands in a ledger, by itself and not by what procq says of it.

player.py FOLDER ROLE [--twice N]. A line of FOLDER/ledger: seconds on the monotonic clock, pid, start time in ticks,
worker, instance, generation, what, and perhaps about what. While anything of the worker lives it holds the lock
FOLDER/slots/WORKER. `--twice N`: a planted bug, see `numbers`.
"""

import fcntl
import os
import random
import signal
import sys
import time

folder, role = sys.argv[1], sys.argv[2]
twice = int(sys.argv[4]) if len(sys.argv) > 4 else -1
worker, instance, generation = (os.environ[f"PROCQ_{name}"] for name in ("WORKER_ID", "INSTANCE", "GENERATION"))
with open("/proc/self/stat") as stat:
    ticks = stat.read().rpartition(")")[2].split()[19]
ledger = os.open(f"{folder}/ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
chance = random.Random(f"{worker} {generation}")
asked: list[int] = []


def note(what: str, about: object = "") -> None:
    entry = f"{time.monotonic():.6f} {os.getpid()} {ticks} {worker} {instance} {generation} {what} {about}"
    os.write(ledger, f"{entry.rstrip()}\n".encode())


def hear(number: int, _: object) -> None:
    asked.append(number)
    note("asked", number)


def lock() -> None:
    """Not taken: something of the worker that had the slot before still lives."""
    slot = os.open(f"{folder}/slots/{worker}", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        note("crowded")


def leave(code: int = 0) -> None:
    note("left", code)
    os._exit(code)


def numbers() -> None:
    """Numbered lines; how many it is rid of stands in a file of its own."""
    progress = os.open(f"{folder}/progress/{worker}-{instance}-{generation}", os.O_WRONLY | os.O_CREAT, 0o644)
    number = 0
    while not asked:
        line = b"%s/%s/%s %d\n" % (worker.encode(), instance.encode(), generation.encode(), number)
        os.write(1, line * (2 if number == twice else 1))
        number += 1
        os.pwrite(progress, b"%12d" % number, 0)
        time.sleep(chance.uniform(0.002, 0.02))
    leave()


def jobs() -> None:
    """Takes one job after the other, and finishes the one in hand when it is asked to leave."""
    while not asked:
        for job in sorted(os.listdir(f"{folder}/todo")):
            try:
                os.rename(f"{folder}/todo/{job}", f"{folder}/doing/{job}")
            except OSError:
                continue  # another was quicker
            note("took", job)
            end = time.monotonic() + chance.uniform(0.01, 0.4)
            while time.monotonic() < end:
                time.sleep(0.01)
            os.rename(f"{folder}/doing/{job}", f"{folder}/done/{job}")
            note("did", job)
            break
        else:
            time.sleep(0.05)
    leave()


def crash() -> None:
    time.sleep(chance.uniform(0.05, 2.0))
    if asked:
        leave()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    number = chance.choice([0, signal.SIGSEGV, signal.SIGABRT, signal.SIGUSR1])
    code = chance.randint(1, 250)
    note("ends", -number if number else code)
    if number:
        os.kill(os.getpid(), number)
    os._exit(code)


def daemon() -> None:
    """A leader that leaves at once when asked, and a daemon, out of its session, that has to be killed."""
    if not os.fork():
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("daemon", os.getpid())
        while True:
            signal.pause()
    while not asked:
        time.sleep(0.02)
    leave()


def stubborn() -> None:
    while True:
        time.sleep(1)


def slow() -> None:
    """Takes its time before it is ready, and says so where procq listens."""
    time.sleep(chance.uniform(0.1, 0.6))
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"READY=1\n", f"\0{address[1:]}" if address.startswith("@") else address)
    note("ready")
    while not asked:
        time.sleep(0.02)
    leave()


os.set_inheritable(ledger, True)
signal.signal(signal.SIGTERM, hear)
lock()
note("born")
{"lines": numbers, "hurt": numbers, "jobs": jobs, "crash": crash, "daemon": daemon, "stubborn": stubborn, "slow": slow}[
    role
]()
