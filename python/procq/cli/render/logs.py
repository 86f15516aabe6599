"""Output of workers as `worker | line`."""

from __future__ import annotations

from time import gmtime, strftime
from typing import TYPE_CHECKING

from procq.client import Gap, Output
from procq.text import Style, count, visible

if TYPE_CHECKING:
    from procq.cli.logfiles import Line

_WIDTH = 13


def line_json(line: Line) -> bytes:
    """A line as one JSON object; `time` and `stream` are null where nobody knows them.

    What is no UTF-8 is also there as it was: in `bytes`, as base64.
    """
    import json
    from base64 import b64encode

    when = None
    if line.at is not None:
        microseconds = round(line.at * 1_000_000)
        when = f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(microseconds // 1_000_000))}.{microseconds % 1_000_000:06}Z"
    told = {
        "time": when,
        "worker": line.worker,
        "stream": line.stream,
        "line": line.data.decode("utf-8", "replace"),
    }
    if told["line"] != line.data.decode("utf-8", "surrogateescape"):
        told["bytes"] = b64encode(line.data).decode()
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class LogRenderer:
    """Prefixes lines, and remembers which worker's line is still open.

    Keeps bytes as they are where `raw`; else only colours of what a worker wrote reach the terminal.
    """

    def __init__(self, style: Style, *, raw: bool) -> None:
        self._style = style
        self._raw = raw
        self._width = _WIDTH
        self._open: str | None = None

    def render(self, piece: Output | Gap) -> bytes:
        """The bytes to write for one piece."""
        match piece:
            case Gap(lost):
                text = f"… {count(lost, 'byte')} missing here: written faster than they were read"
                return self._close() + self._style(text, "yellow").encode() + b"\n"
            case Output(worker, _, _, data, partial):
                return self._output(worker, data, partial)

    def _output(self, worker: str, data: bytes, partial: bool) -> bytes:
        out = b""
        if self._open != worker:
            out = self._close() + self._prefix(worker)
        body, ended = (data[:-1], True) if data.endswith(b"\n") else (data, False)
        separator = b"\n" + self._prefix(worker)
        out += separator.join(self._clean(line) for line in body.split(b"\n"))
        if ended or not partial:
            self._open = None
            return out + self._reset(data) + b"\n"
        self._open = worker
        return out

    def _close(self) -> bytes:
        closed, self._open = self._open, None
        return b"\n" if closed is not None else b""

    def _prefix(self, worker: str) -> bytes:
        self._width = max(self._width, len(worker))
        return f"{self._style.prefix(worker, self._width)} | ".encode()

    def _clean(self, line: bytes) -> bytes:
        return line if self._raw else visible(line.decode("utf-8", "replace")).encode()

    def _reset(self, data: bytes) -> bytes:
        """A colour that a worker left on must not run into the next line."""
        return b"\x1b[0m" if not self._raw and b"\x1b[" in data else b""
