"""What a command writes to: plain lines into a pipe, colour and one line of progress on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from procq.errors import ManifestError, ProcqError
from procq.text import Style, cut, wants_color

_ERASE = "\r\x1b[2K"


class Terminal:
    """Standard output and standard error of one command."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.style = Style(wants_color(environ, self.is_terminal))
        self._progress_on = sys.stderr.isatty() and environ.get("TERM") != "dumb"
        self._error_style = Style(wants_color(environ, sys.stderr.isatty()))
        self._progress = ""

    @property
    def color(self) -> bool:
        """Whether standard output is coloured."""
        return self.style.color

    def lines(self, lines: Iterable[str]) -> None:
        """Writes lines to standard output."""
        self.clear_progress()
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def line(self, text: str = "") -> None:
        """Writes one line to standard output."""
        self.lines((text,))

    def write(self, text: str) -> None:
        """Writes to standard output as it is."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def fit(self, lines: Iterable[str]) -> list[str]:
        """As many of `lines` as the terminal shows, each cut to its width."""
        try:
            columns, rows = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return list(lines)
        fitting = list(lines)[: max(1, rows - 1)]
        return [cut(line, columns) for line in fitting]

    def progress(self, text: str) -> None:
        """Shows how far something is, in a line that is overwritten; nothing where standard error is not a terminal."""
        if self._progress_on and text != self._progress:
            sys.stderr.write(_ERASE + self._narrow(text))
            sys.stderr.flush()
            self._progress = text

    def _narrow(self, text: str) -> str:
        """A line that wraps could not be overwritten."""
        try:
            return cut(text, os.get_terminal_size(sys.stderr.fileno()).columns)
        except OSError:
            return text

    def clear_progress(self) -> None:
        """Takes the line of progress away."""
        if self._progress:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
            self._progress = ""

    def fail(self, error: ProcqError) -> None:
        """Shows an error: what happened, then what can be done."""
        self.clear_progress()
        if isinstance(error, ManifestError) and error.problems:
            text = error.render(color=self._error_style.color)
        else:
            text = f"{self._error_style('procq:', 'red')} {error.message}"
            if error.hint:
                text += f"\n       {error.hint}"
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()
