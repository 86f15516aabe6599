"""The flight recorder: all that the journal of a project has, and its status, in one file that can be sent to somebody.

Lines of JSON, compressed where the name ends in `.gz`. Each has a `record`: the first one `head`, with the version of
the format, then `status` (where procq ran), `event`, `decision` and `sample`. Unknown ones are passed over.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

from procq import wire
from procq.errors import ProcqError
from procq.journal.record import Sample
from procq.wire import DecisionView, EventView

FORMAT: Final = 1
"""The version of the format. It grows when a field changes its meaning or goes away, not when one is added."""
_GZIP: Final = b"\x1f\x8b"


class RecordingUnreadable(ProcqError):
    """A file is no recording, or one that is not understood here."""


@contextmanager
def recording(path: Path) -> Iterator[Recorder]:
    """Writes a recording for us alone: all of it, or the file stays as it was. Raises ProcqError."""
    beside = ""
    try:
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(handle, "wb") as raw:
            with gzip.open(raw, "wb") if path.suffix == ".gz" else raw as target:
                yield Recorder(target)
            if not raw.closed:
                raw.flush()
        os.replace(beside, path)
    except OSError as error:
        raise ProcqError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            os.unlink(beside)


class Recorder:
    """Writes lines."""

    def __init__(self, target: IO[bytes] | gzip.GzipFile) -> None:
        self._target = target

    def head(self, facts: Mapping[str, Any]) -> None:
        """What has to come first: of which procq this is."""
        self._line("head", {"format": FORMAT, **facts})

    def view(self, record: str, view: object) -> None:
        """A status, an event or a decision."""
        self._line(record, wire.to_data(view))

    def sample(self, sample: Sample) -> None:
        """What a queue was like."""
        self._line("sample", asdict(sample))

    def _line(self, record: str, data: Mapping[str, Any]) -> None:
        # ASCII: whatever file names were in there, it can be read everywhere.
        self._target.write(json.dumps({"record": record, **data}, separators=(",", ":")).encode() + b"\n")


class Recording:
    """Reads such a file. Everything may raise RecordingUnreadable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut_off = False
        """Whether it ends in the middle, as far as it has been read: a copy that was not finished, for example."""
        self.head = next(self._lines(), {})
        if self.head.get("record") != "head":
            raise RecordingUnreadable(f"{path} is no recording of procq", hint="`procq events --dump FILE` writes one.")
        if self.head.get("format") != FORMAT:
            raise RecordingUnreadable(
                f"{path} is a recording of format {self.head.get('format')}, and only {FORMAT} is known here",
                hint=f"procq {self.head.get('procq', 'of a later version')} wrote it: read it with that.",
            )

    def events(self) -> Iterator[EventView]:
        """All events, in their order."""
        return self._views("event", EventView)

    def decisions(self, queue: str) -> list[DecisionView]:
        """The decisions about a queue, the newest first."""
        found = [each for each in self._views("decision", DecisionView) if each.queue == queue]
        return sorted(found, key=lambda each: each.at, reverse=True)

    def _views(self, record: str, kind: type[wire.T]) -> Iterator[wire.T]:
        for data in self._lines():
            if data.get("record") == record:
                try:
                    yield wire.from_json(kind, json.dumps(data))
                except (ValueError, TypeError, AttributeError) as error:
                    raise RecordingUnreadable(f"{self._path} has a line that is not understood: {error}") from None

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with open(self._path, "rb") as raw:
                compressed = raw.read(2) == _GZIP
                raw.seek(0)
                with gzip.open(raw) if compressed else raw as source:
                    yield from self._parsed(source)
        except (EOFError, zlib.error):
            self.cut_off = True
        except OSError as error:
            raise RecordingUnreadable(f"{self._path} cannot be read: {error.strerror or error}") from None

    def _parsed(self, source: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        for line in source:
            try:
                data = json.loads(line)
            except ValueError:
                # Of the last line a part may be there. What is no recording at all is found out by its first line.
                self.cut_off = True
                return
            if isinstance(data, dict):
                yield data
