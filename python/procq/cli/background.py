"""`procq up -d`: procq in a session of its own, its output in a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from procq.errors import ProcqError
from procq.paths import Project

_MOST_SHOWN = 64 << 10


class DidNotStart(ProcqError):
    """The background process ended before its queues ran."""

    def __init__(self, message: str, hint: str | None, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code  # type: ignore[misc]  # known only now


def start(project: Project, become: Callable[[int], NoReturn]) -> None:
    """Runs `become(ready_fd)` in the background and returns once it says that it is ready. Raises DidNotStart."""
    log = os.open(project.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    began_at = os.lseek(log, 0, os.SEEK_END)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _in_background(log, writer, become)
    os.close(writer)
    os.close(log)
    ready = os.read(reader, 1)
    os.close(reader)
    if not ready:
        raise _failure(project, began_at, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _in_background(log: int, writer: int, become: Callable[[int], NoReturn]) -> NoReturn:
    """In the child. It leads a session without a terminal, and never returns into the command line."""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        os.set_inheritable(writer, True)
        become(writer)
    except BaseException as error:
        os.write(2, f"procq: cannot start in the background: {error}\n".encode())
    finally:
        os._exit(1)


def _failure(project: Project, began_at: int, code: int) -> DidNotStart:
    with open(project.log_file, "rb") as log:
        # It may have begun anew.
        log.seek(began_at if os.fstat(log.fileno()).st_size >= began_at else 0)
        said = log.read(_MOST_SHOWN)
    sys.stderr.buffer.write(said)
    sys.stderr.flush()
    how = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
    return DidNotStart(
        f"{project.name} ended {how} before its queues ran",
        f"Its output is above, and in {project.log_file}.",
        max(1, code),
    )
