"""The Rust half. Thin: nothing here decides anything.

Messages cross as dictionaries with the key `t` naming their kind; kinds and fields are those of
`rust/core/src/proto/messages.rs`. Durations are milliseconds, `at` is nanoseconds of the monotonic clock
(`time.monotonic_ns()`), `time` is nanoseconds since the epoch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, final

PROTOCOL: int
"""The newest protocol this build speaks."""

@final
class Link:
    """One end of a conversation with a keeper, over a connected stream socket.

    Owns the descriptor `fd`. `role` is "control" (commands out, events in) or "client" (requests out, replies in).
    Never blocks: what the socket does not take is kept and sent when it does.
    """

    def __init__(self, fd: int, role: str) -> None: ...
    def fileno(self) -> int:
        """The one descriptor to watch for reading: readable when `drain` has something to do, in either direction."""

    def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Sends in order. Raises ValueError for what is not a message (nothing is sent then), ConnectionError when the keeper is gone."""

    def drain(self) -> list[dict[str, Any]]:
        """Everything that has arrived, and flushes what waits to be sent. Raises ConnectionError at the end of the stream once all was handed out, ValueError for garbage."""

    def pending(self) -> int:
        """Bytes accepted by `send` and not yet taken by the socket."""

    def close(self) -> None:
        """Closes the socket; every later call raises ValueError."""

def host(config: Mapping[str, Any]) -> NoReturn:
    """Turns this process into a sentinel with a keeper as its child. Never returns; single-threaded callers only. See `procq.core.Hosting` for `config`."""
