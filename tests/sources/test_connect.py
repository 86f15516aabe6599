"""How connections are found: those that are built in, and those that others have written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from procq.scaling import place as places
from procq.scaling.place import PRESETS, parse
from procq.scaling.presets import SERVERS
from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError, connect, preload
from procq.scaling.sources.recipes import RECIPES
from tests.sources.lab import read

PLUGIN = """
from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError
class Connection:
    def __init__(self, place, timeout):
        self.server, self.timeout = place.server, timeout
    def read(self, places, within):
        return [Reading(len(place.queue), oldest=self.timeout) for place in places]
    def close(self):
        pass
def broken(place, timeout):
    raise ZeroDivisionError("oh")
def closed(place, timeout):
    raise SourceError(Kind.AUTH, "not you")
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "some_source.py").write_text(PLUGIN)
    about = tmp_path / "some_source-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-source\nVersion: 1.0\n")
    names = {"some": "Connection", "broken": "broken", "closed": "closed", "lost": "nothing"}
    lines = [f"{name} = some_source:{what}" for name, what in names.items()]
    (about / "entry_points.txt").write_text("\n".join(["[procq.sources]", *lines, "gone = no_such_module:x", ""]))
    monkeypatch.syspath_prepend(str(tmp_path))
    places.plugged.cache_clear()
    yield
    places.plugged.cache_clear()


@pytest.mark.usefixtures("plugin")
def test_sources_of_others() -> None:
    place = parse("some://host/x?queue=three&region=eu", "work")
    assert "some_source" not in sys.modules, "a URL is understood without the code behind it"
    assert connect(place, 7.0).read([place], 0.0) == [Reading(5, oldest=7.0)]
    for name, kind, says in (
        ("broken", Kind.OTHER, "ZeroDivisionError: oh"),
        ("closed", Kind.AUTH, "not you"),
        ("lost", Kind.OTHER, "some_source:nothing"),
        ("gone", Kind.OTHER, "no_such_module"),
    ):
        with pytest.raises(SourceError) as caught:
            connect(parse(f"{name}://host", "work"))
        assert caught.value.kind is kind
        assert says in str(caught.value)


@pytest.mark.usefixtures("plugin")
def test_a_source_that_is_taken_away() -> None:
    place = parse("some://host", "work")
    sys.path_importer_cache.clear()
    sys.path.pop(0)
    with pytest.raises(SourceError) as caught:
        connect(place)
    assert caught.value.kind is Kind.MISSING_LIBRARY


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_can_be_connected(name: str) -> None:
    for scheme, server in PRESETS[name].schemes.items():
        _, _, query = PRESETS[name].example.partition("?")
        at = {"exec": "true", "file": "/tmp"}.get(scheme, "///tmp/x" if SERVERS[server].path else "//127.0.0.1")
        place = parse(f"{scheme}:{at}{'?' if query else ''}{query}", "work")
        connect(place).close()
        assert (SERVERS[server].library == "redis") == (name in RECIPES)


def test_libraries_are_imported_when_they_are_needed() -> None:
    code = """
import sys
from procq.scaling.place import parse
from procq.scaling.sources import connect
import procq.scaling.sources.pool, procq.scaling.sources.health
connect(parse("file:///tmp", "x")), connect(parse("exec:true", "x"))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"redis", "pika", "psycopg", "sqlite3", "http"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    preload()
    assert "procq.scaling.sources.redis" in sys.modules


def test_queues_of_all_presets_of_a_server_share_a_connection(tmp_path: Path) -> None:
    places = [parse(f"{scheme}+unix://{tmp_path}/s", "work") for scheme in ("rq", "sidekiq", "redis-list")]
    assert len({place.server for place in places}) == 1
    with pytest.raises(SourceError) as caught:
        read(f"rq+unix://{tmp_path}/s")
    assert caught.value.kind is Kind.REFUSED
