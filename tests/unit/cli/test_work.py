"""`procq work`: what it writes down is what was said."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from procq.cli import main, up
from procq.manifest import load


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The manifests that were to be run; none is."""
    paths: list[str] = []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def run(options: argparse.Namespace, terminal: object) -> int:
        paths.append(options.manifest)
        return 0

    monkeypatch.setattr(up, "run", run)
    return paths


def test_words_stay_what_they_are(written: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = tmp_path / 'a "folder": #1'
    here.mkdir()
    monkeypatch.chdir(here)
    words = ["sh", "-c", 'echo "$1 ${HOME} $${X}" # no comment', "a: b", "", "it's", "{queue}", "-d", "--", "é\\n"]
    assert main(["work", "--workers", "3", "--queue", "high,default", "--", *words]) == 0
    queue = load(Path(written[0]), os.environ).queues["work"]
    assert queue.argv == (*words[:6], "high,default", *words[7:])
    assert (queue.workers, queue.directory) == (3, str(here))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["work"], "work at what?"),
        (["work", "--workers", "3", "--"], "work at what?"),
        (["work", "--workers", "0", "--", "true"], "--workers is between 1 and"),
        (["work", "--workers", "2", "--", "x", "{queue}"], "{queue} stands for nothing"),
        (["work", "--", "/no/such/program"], "cannot execute /no/such/program"),
    ],
)
def test_what_makes_no_sense_is_said(
    written: list[str], capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(words) == 64
    assert says in capsys.readouterr().err
    assert written == []
