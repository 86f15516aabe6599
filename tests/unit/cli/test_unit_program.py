"""Which command a unit runs: the one that printed it, and one that is there."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from procq.cli import unit
from procq.errors import ProcqError


def installed(folder: Path) -> str:
    folder.mkdir()
    program = folder / "procq"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return str(program)


def test_it_is_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [installed(tmp_path / "bin"), "unit"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "usr" / "python3"))
    assert unit._program() == str(tmp_path / "bin" / "procq")


def test_run_as_a_module_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install --user` puts it somewhere else than the interpreter is."""
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "procq" / "cli" / "__main__.py"), "unit"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "usr" / "python3"))
    scripts = tmp_path / "scripts"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(scripts))
    with pytest.raises(ProcqError, match="there is no command procq"):
        unit._program()
    found = installed(scripts)
    assert unit._program() == found
