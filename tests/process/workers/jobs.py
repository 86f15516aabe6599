"""Says what it reads from a FIFO, by all the ways there are; `|` stands for the end of a line.

`line TEXT` through the stream that it has inherited, `raw TEXT` the same without an end of line, `close` closes that.
`begin NAME` forks a process, `NAME TEXT` is said by it from a socket of its own, `end NAME` kills and reaps it.
Anything else is a message of its own. What procq says is written to FIFO.heard, as `WHO WORD`; orders that were
carried out to FIFO.done; where a process listens to FIFO.NAME.
"""

import os
import signal
import socket
import sys
import threading

fifo = sys.argv[1]
signal.signal(signal.SIGTERM, signal.SIG_DFL)
name = "\0" + os.environ["NOTIFY_SOCKET"][1:]
number = int(os.environ["PROCQ_NOTIFY_FD"])
stream = socket.socket(fileno=number)
heard = os.open(f"{fifo}.heard", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def listen(who: str, to: socket.socket) -> None:
    while words := to.recv(4096):
        for word in words.decode().split():
            os.write(heard, f"{who} {word}\n".encode())


def socket_of(who: str) -> socket.socket:
    to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    to.bind("")
    to.connect(name)
    with open(f"{fifo}.{who}", "wb") as file:
        file.write(to.getsockname())
    threading.Thread(target=listen, args=(who, to), daemon=True).start()
    return to


def child(who: str) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(read)
        return pid, write
    os.close(write)
    to = socket_of(who)
    with os.fdopen(read) as orders:
        for order in orders:
            to.send(order.rstrip("\n").replace("|", "\n").encode())
    os._exit(0)


threading.Thread(target=listen, args=("stream", stream), daemon=True).start()
own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
own.connect(name)
children: dict[str, tuple[int, int]] = {}
with open(fifo) as orders, open(f"{fifo}.done", "w", buffering=1) as done:
    while order := orders.readline().rstrip("\n"):
        word, _, rest = order.partition(" ")
        text = rest.replace("|", "\n").encode()
        if word == "line":
            stream.sendall(text + b"\n")
        elif word == "raw":
            stream.sendall(text)
        elif word == "close":
            stream.shutdown(socket.SHUT_RDWR)
            stream.close()
        elif word == "begin":
            children[rest] = child(rest)
        elif word == "end":
            pid, write = children.pop(rest)
            os.close(write)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        elif word in children:
            os.write(children[word][1], f"{rest}\n".encode())
        else:
            own.send(order.replace("|", "\n").encode())
        print(order, file=done)
    signal.pause()
