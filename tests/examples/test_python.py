"""docs/python.md: its programs run, are typed, and name everything that is public; what is public is documented."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import procq
from procq import testing
from tests.process.support import processes
from tests.process.support.fixtures import oracle, tier
from tests.process.support.oracle import Oracle
from tests.process.support.waiting import PATIENCE, until

__all__ = ["oracle", "tier"]

pytestmark = [pytest.mark.examples, pytest.mark.process]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
MANIFEST = """
queues:
  default: rq worker default
  emails:
    command: rq worker emails
    env:
      REDIS_URL: ${REDIS_URL:-redis://here}
  reports: rq worker reports
"""
WORKER = "#!/bin/sh\nexec sleep 1000\n"
RUN_TESTS = "\nfor name, value in list(globals().items()):\n    if name.startswith('test_'):\n        value()\n"


def blocks() -> list[tuple[str, str]]:
    files = [DOCUMENT, ROOT / "README.md"]
    return [(f"{file.stem}-{n}", text) for file in files for n, text in enumerate(BLOCK.findall(file.read_text()), 1)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a manifest and with programs that are called like those in the document."""
    (tmp_path / "procq.yaml").write_text(MANIFEST)
    for name in ("rq", "celery"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(WORKER)
        program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in blocks()])
def test_programs_in_documents_run(text: str, place: Path, oracle: Oracle) -> None:
    (place / "program.py").write_text(text + RUN_TESTS)
    environ = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", processes.COOKIE: oracle.cookie}
    command = [sys.executable, "-W", "error", "program.py"]
    ran = subprocess.run(
        command, cwd=place, env=environ, capture_output=True, text=True, timeout=3 * PATIENCE, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    until(lambda: oracle.alive() == [], "everything to end")


def test_programs_in_documents_are_typed(tmp_path: Path) -> None:
    for name, text in blocks():
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(text)
    cache = ROOT / ".mypy_cache" / "documents"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "--config-file", os.devnull, "."]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (ROOT / "python" / "procq" / "py.typed").exists()


def public() -> Iterator[tuple[str, object]]:
    for module in (procq, testing):
        for name in module.__all__:
            yield f"{module.__name__}.{name}", getattr(module, name)


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*pair, id=pair[0]) for pair in public()])
def test_what_is_public_is_documented_and_typed(name: str, thing: object) -> None:
    assert re.search(rf"\b{name.rpartition('.')[2]}\b", DOCUMENT.read_text()), "not in docs/python.md"
    if not inspect.isclass(thing) and not inspect.isfunction(thing):
        return
    assert thing.__doc__
    members = inspect.getmembers(thing) if inspect.isclass(thing) else [("", thing)]
    for member, value in members:
        function = value.fget if isinstance(value, property) else value
        if not inspect.isfunction(function) or not function.__module__.startswith("procq"):
            continue
        if member.startswith("_") and member not in ("__init__", "__call__"):
            continue
        assert member == "__init__" or function.__doc__, f"{member} says nothing about itself"
        hints = typing.get_type_hints(function)
        assert "return" in hints, f"{member} does not say what it returns"
        parameters = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
        assert [p for p in parameters if p not in hints] == [], member


def test_both_managers_have_the_same_names() -> None:
    def names(kind: type) -> dict[str, list[str]]:
        functions = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
        return {name: list(inspect.signature(f).parameters) if callable(f) else [] for name, f in functions.items()}

    assert names(procq.Manager) == names(procq.AsyncManager)
    assert names(procq.WorkerProcess) == names(procq.AsyncWorkerProcess)
    assert set(dir(procq)) >= set(procq.__all__)
