"""Commands that print how long a queue is."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.each import read_each
from procq.scaling.sources.jobs import reading_in
from procq.scaling.sources.port import Kind, SourceError

if TYPE_CHECKING:
    from procq.scaling.place import Place

_MOST: Final = 64 << 10
"""Bytes that a command may print."""
_NOT_FOUND: Final = 127


def connect(place: Place, timeout: float) -> CommandConnection:
    """Runs one command."""
    return CommandConnection(place.server.removeprefix("exec:"), timeout)


class CommandConnection:
    """One command, of a shell, in the directory of procq. After `timeout` seconds its process group is killed."""

    def __init__(self, command: str, timeout: float) -> None:
        self._command = command
        self._timeout = timeout

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        """One result for each place: the command is run for each queue."""
        return read_each(places, self._read)

    def close(self) -> None:
        """Nothing runs between readings."""

    def _read(self, place: Place) -> Reading:
        status, output, errors = self._run(place)
        if status is None:
            message = f"{place.shown} has not ended within {self._timeout:g} s, or printed too much, and was killed"
            raise SourceError(Kind.TIMEOUT, message)
        if status != 0:
            said = errors.strip().splitlines()[-1:] or output.strip().splitlines()[-1:] or ["nothing"]
            how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
            kind = Kind.REFUSED if status == _NOT_FOUND else Kind.OTHER
            raise SourceError(kind, f"{place.shown} has failed ({how}) and says {said[0][:200]}")
        try:
            found = json.loads(output)
        except (ValueError, RecursionError):
            found = output.strip()
        return reading_in(found, place.shown)

    def _run(self, place: Place) -> tuple[int | None, str, str]:
        """Exit status, and what was printed; the status is None where it had to be killed."""
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PROCQ_QUEUE": place.queue},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise SourceError(Kind.OTHER, f"{place.shown} cannot be run: {error}") from error
        said: dict[int, bytes] = {}
        with process:
            try:
                ended = _follow(process, said, time.monotonic() + self._timeout)
            finally:
                # Before its leader is waited for: until then nobody else can have the group's number. Whatever it has
                # left behind goes too, as that would come together poll by poll.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            status = process.wait() if ended else None
            output, errors = (text.decode(errors="replace") for text in said.values())
            return status, output, errors


def _follow(process: subprocess.Popen[bytes], said: dict[int, bytes], deadline: float) -> bool:
    """Whether the command has ended in time; `said` gets what it has printed, first to one pipe, then to the other."""
    assert process.stdout is not None
    assert process.stderr is not None
    said |= {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    end = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for pipe in (end, *said):
                os.set_blocking(pipe, False)
                selector.register(pipe, selectors.EVENT_READ)
            while ready := selector.select(max(0.0, deadline - time.monotonic())):
                descriptors = {key.fd for key, _ in ready}
                # Whoever has ended has printed all of it.
                over = [pipe for pipe in (said if end in descriptors else descriptors) if not _drain(pipe, said)]
                if sum(map(len, said.values())) > _MOST:
                    return False
                if end in descriptors:
                    return True
                for pipe in over:
                    selector.unregister(pipe)
            return False
    finally:
        os.close(end)


def _drain(pipe: int, said: dict[int, bytes]) -> bool:
    """Reads what is there, up to a bound. False at the end of it."""
    with suppress(BlockingIOError):
        while len(said[pipe]) <= _MOST:
            chunk = os.read(pipe, _MOST)
            said[pipe] += chunk
            if not chunk:
                return False
    return True
