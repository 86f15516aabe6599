"""The quick start does what its README says: real jobs, more workers by saving the file, nothing left after ^C."""

from __future__ import annotations

import lzma
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.examples.running import Running, run_example

pytestmark = [pytest.mark.examples, pytest.mark.process]
LIBRARY = Path(lzma.__file__).parent
FIRST = ["index.1", "index.2", "shrink.1", "shrink.2"]


def save(demo: Running, before: str, after: str) -> None:
    """What an editor does: the whole file, a number changed."""
    manifest = demo.folder / "procq.yaml"
    text = manifest.read_text()
    assert before in text
    manifest.write_text(text.replace(before, after, 1))


def works(demo: Running, *workers: str) -> None:
    """Waits until each of the workers has done a job."""
    for worker in workers:
        demo.wait_for(f"a job done by {worker}", demo.said(worker, " ms"))


def test_quickstart(tmp_path_factory: pytest.TempPathFactory) -> None:
    with run_example("quickstart", tmp_path_factory.mktemp("q")) as demo:
        demo.wait_for("the feeder", demo.said("feeder.1", "feeding"))
        works(demo, *FIRST)
        before = demo.workers("index")
        assert sorted(before) == ["index.1", "index.2"]

        save(demo, "workers: 2", "workers: 5")
        works(demo, "index.3", "index.4", "index.5")
        after = demo.workers("index")
        assert len(after) == 5
        assert {worker: after[worker] for worker in before} == before, "a worker that stays was touched"

        assert demo.interrupt() == 0
        assert demo.left_behind() == []
        assert_results_are_real(demo.folder)


def test_a_broken_manifest_changes_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    with run_example("quickstart", tmp_path_factory.mktemp("q")) as demo:
        works(demo, *FIRST)
        before = demo.workers("index")
        save(demo, "workers: 2", "workers: many")
        demo.wait_for("the error", lambda lines: any("many" in line for line in lines))
        save(demo, "workers: many", "workers: 3")
        works(demo, "index.3")
        after = demo.workers("index")
        assert {worker: after.get(worker) for worker in before} == before


def assert_results_are_real(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "words.db")) as database:
        files, words = database.execute("SELECT count(DISTINCT file), sum(count) FROM words").fetchone()
    assert files > 0
    assert words > files
    archive = folder / "archive"
    packed = list(archive.rglob("*.xz"))
    assert packed
    for each in packed:
        source = LIBRARY / each.relative_to(archive).with_suffix("")
        assert lzma.decompress(each.read_bytes()) == source.read_bytes()
