"""Says to its notify socket what it reads from a FIFO, a message a line in which `|` stands for the end of a line.

`child TEXT`: said by a child, which then ends and is reaped. `daemon TEXT`: by a process whose parents have gone, which
stays. `store TEXT`: with the write end of a pipe; waits until nobody else has it. `say TEXT` goes to standard output,
`exit N` ends it. What was done is written to FIFO.done, a line each.
"""

import array
import os
import signal
import socket
import sys

fifo = sys.argv[1]
signal.signal(signal.SIGTERM, signal.SIG_IGN if "--ignore-term" in sys.argv else signal.SIG_DFL)
name = os.environ["NOTIFY_SOCKET"]
assert name.startswith("@"), name
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.connect("\0" + name[1:])


def send(text: str, descriptors: tuple[int, ...] = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    to.sendmsg([text.replace("|", "\n").encode()], rights)


def by_child(text: str) -> None:
    pid = os.fork()
    if pid == 0:
        send(text)
        os._exit(0)
    os.waitpid(pid, 0)


def by_daemon(text: str) -> None:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            send(text)
            signal.pause()
        os._exit(0)
    os.waitpid(pid, 0)


def stored(text: str) -> None:
    read, write = os.pipe()
    send(text, (write,))
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)


with open(fifo) as orders, open(f"{fifo}.done", "w", buffering=1) as done:
    while True:
        order = orders.readline().rstrip("\n")
        word, _, rest = order.partition(" ")
        match word:
            case "child":
                by_child(rest)
            case "daemon":
                by_daemon(rest)
            case "store":
                stored(rest)
            case "say":
                print(rest, flush=True)
            case "exit":
                sys.exit(int(rest))
            case "":
                signal.pause()
            case _:
                send(order)
        print(order, file=done)
