"""A terminal with a shell's habits: `procq up` in the foreground of a pty, keys pressed, window closed."""

from __future__ import annotations

import os
import pty
import select
import signal
import threading

from tests.process.support.project import PROCQ, Procq


class Terminal:
    """Runs procq as the foreground job of a session of its own, and collects what the screen shows."""

    def __init__(self, procq: Procq) -> None:
        self._procq = procq
        self._closed = threading.Event()
        self.pid, self._master = pty.fork()
        if not self.pid:
            os.chdir(procq.folder)
            os.execve(PROCQ, [str(PROCQ), "up", str(procq.manifest)], procq.environment)
        self.screen = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def press(self, key: bytes) -> None:
        """b"\\x03" is ^C, b"\\x1a" is ^Z, b"\\x1c" is ^\\."""
        os.write(self._master, key)

    def foreground(self) -> None:
        """What `fg` does: the terminal is the job's again, and it goes on."""
        os.killpg(self.pid, signal.SIGCONT)

    def stopped(self) -> bool:
        """Whether the job has stopped since the last look."""
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        return pid == self.pid and os.WIFSTOPPED(status)

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.close()
        return code

    def close(self) -> None:
        """Closes the window: the kernel sends SIGHUP."""
        if not self._closed.is_set():
            self._closed.set()
            self._reader.join()
            os.close(self._master)

    def _read(self) -> None:
        while not self._closed.is_set():
            if not select.select([self._master], [], [], 0.01)[0]:
                continue
            try:
                self.screen += os.read(self._master, 65536)
            except OSError:
                return
