"""Files of the flight recorder."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

import pytest

from procq.errors import ProcqError
from procq.journal.record import decision_view
from procq.journal.recorder import Recording, RecordingUnreadable, recording
from tests.unit.journal.making import record, sample
from tests.unit.journal.test_events import event


def written(path: Path) -> Path:
    with recording(path) as recorder:
        recorder.head({"procq": "0.1.0"})
        for number in range(1, 200):
            recorder.view("event", event(number))
            recorder.view("decision", decision_view(record(number, "reports" if number % 2 else "emails")))
            recorder.sample(sample(number))
            recorder.view("of_a_later_version", event(number))
    return path


@pytest.mark.parametrize("name", ["flight", "flight.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("an earlier one")
    path.chmod(0o644)
    found = Recording(written(path))
    assert (found.head["format"], found.head["procq"]) == (1, "0.1.0")
    assert list(found.events()) == [event(number) for number in range(1, 200)]
    assert [each.before for each in found.decisions("emails")] == list(range(198, 0, -2))
    assert not found.cut_off
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


@pytest.mark.parametrize("name", ["flight", "flight.gz"])
def test_a_part_of_one_is_read_as_far_as_it_goes(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = Recording(path)
    events = list(found.events())
    assert events == [event(number) for number in range(1, len(events) + 1)]
    assert found.cut_off


@pytest.mark.parametrize("content", [b"", b"\x1f\x8bxx", b"procq", b"[]\n", b'{"record":"event"}\n', b"\xff\xfe\n"])
def test_what_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "flight"
    path.write_bytes(content)
    with pytest.raises(RecordingUnreadable):
        Recording(path)


def test_what_is_of_a_later_format_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "flight"
    path.write_bytes(b'{"record":"head","format":2,"procq":"9.0"}\n')
    with pytest.raises(RecordingUnreadable, match="format 2") as later:
        Recording(path)
    assert "9.0" in (later.value.hint or "")
    with pytest.raises(RecordingUnreadable, match="cannot be read"):
        Recording(tmp_path / "none")
    path.write_bytes(gzip.compress(b'{"record":"head","format":1}\n{"record":"event","id":1}\n'))
    with pytest.raises(RecordingUnreadable, match="not understood"):
        list(Recording(path).events())


def test_a_file_that_cannot_be_written_or_finished_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ProcqError, match="cannot be written"), recording(tmp_path / "none" / "flight"):
        pass
    with pytest.raises(ZeroDivisionError), recording(tmp_path / "flight.gz") as recorder:
        recorder.head({"x": 1 / 0})
    assert list(tmp_path.iterdir()) == []
