"""The Rust half. Thin: nothing here decides anything.

Messages cross as dictionaries with the key `t` naming their kind; kinds and fields are those of
`rust/core/src/proto/messages.rs`. Durations are milliseconds, `at` is nanoseconds of the monotonic clock
(`time.monotonic_ns()`), `time` is nanoseconds since the epoch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, final

__all__ = ["PROTOCOL", "VERSION", "Link", "check_pattern", "containment", "host", "resume", "usage"]

PROTOCOL: int
"""The newest protocol this build speaks."""

VERSION: str
"""The version of procq."""

@final
class Link:
    """One end of a conversation with a keeper, over a connected stream socket.

    Owns the descriptor `fd`. `role` is "control" (commands out, events in) or "client" (requests out, replies in).
    Never blocks: what the socket does not take is kept and sent when it does.
    """

    def __new__(cls, fd: int, role: str) -> Link: ...
    def fileno(self) -> int:
        """The one descriptor to watch for reading: readable when `drain` has something to do, in either direction."""

    def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Sends in order, as much as the socket takes now.

        Raises ValueError for what is not a message (nothing is sent then), ConnectionError when the keeper is gone.
        """

    def drain(self) -> list[dict[str, Any]]:
        """Returns what has arrived, and sends what waits.

        Raises ConnectionError at the end of the stream once everything was handed out, ValueError for garbage.
        """

    def pending(self) -> int:
        """Bytes accepted by `send` and not yet taken by the socket."""

    def close(self) -> None:
        """Closes the socket; every later call raises ValueError."""

def usage(roots: Sequence[tuple[int, int]]) -> list[tuple[float, int, int, int]]:
    """What each of these workers uses: everything below its leader, and what has left that and still carries its mark.

    Each is given by its leader's pid and a limit in bytes. Seconds of processor time since their start, bytes of
    memory, how many processes they are (0 where the pid is gone), and how many threads. Shared pages count for each
    process, unless that would be more than the limit: then in parts, one for each process that has them. Where the
    limit is less than 2**64 - 1, the worker's control group is asked first. Reads every process of the machine once,
    without the interpreter lock.
    """

def check_pattern(text: str) -> tuple[str, tuple[int, int] | None] | None:
    """Why `text` is not a pattern that output can be searched for, and where in it; None for one that is."""

def containment() -> tuple[str | None, str | None, str, list[str]]:
    """Where control groups could be made: this process's group, what is missing (a word, and a text), controllers."""

def resume(words: Sequence[str]) -> NoReturn:
    """Goes on as the keeper that another image of this process was, or tries it.

    `words` are those of `rust/core/src/image.rs`. Only in an interpreter that has just been executed for it.
    Never returns.
    """

def host(config: Mapping[str, Any]) -> NoReturn:
    """Turns this process into a sentinel with a keeper as its child, and never returns.

    Only while there is a single thread, and with all signals blocked. `config` is `procq.core.Hosting` as a dictionary;
    raises ValueError for anything else.
    """
