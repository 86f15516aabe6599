"""Whatever happens to a manifest and to what it names, it loads or is refused with ManifestError, in bearable time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.errors import ManifestError
from procq.manifest import load_text
from procq.manifest.env_file import parse
from procq.model import Manifest
from tests.unit.manifest.mutations import mutated

EVERYTHING = (Path(__file__).parent / "valid" / "everything.yaml").read_text()
INCLUDED = "version: 1\nqueues:\n  more:\n    command: work\n    workers: 2\n    after: redis\n"
VARIABLES = "# a comment\nexport A=1\nB='two words'\nC=\"three\\nlines\"  # more\nD=\n"


@pytest.mark.parametrize("part", ["manifest", "included file", "file of variables", "all of them"])
@settings(max_examples=250, deadline=2000)
@given(seed=st.integers(0, 2**32))
def test_mutated_manifests_load_or_are_refused(part: str, seed: int) -> None:
    chance = random.Random(seed)
    files = {"manifest": EVERYTHING, "included file": INCLUDED, "file of variables": VARIABLES}
    for name in files if part == "all of them" else [part]:
        files[name] = mutated(files[name], chance)
    data = {name: text.encode("utf-8", "surrogateescape") for name, text in files.items()}

    def read(path: str) -> bytes:
        if path.endswith((".yaml", ".yml")):
            return data["included file"]
        if chance.random() < 0.02:
            raise PermissionError(13, "Permission denied")
        return data["file of variables"]

    try:
        found = load_text(data["manifest"], Path("/srv/shop/procq.yaml"), {"HOME": "/home/shop"}, read=read)
    except ManifestError as error:
        assert error.problems
        assert error.render()
        assert all(problem.message and problem.line >= 0 for problem in error.problems)
    else:
        assert isinstance(found, Manifest)


@settings(max_examples=300, deadline=1000)
@given(st.binary(max_size=200) | st.text("A=B'\"\\\n #$x", max_size=60).map(str.encode))
def test_any_bytes_are_variables_or_are_refused(data: bytes) -> None:
    try:
        found = parse(data, ".env")
    except ManifestError as error:
        assert error.render()
    else:
        assert all("\0" not in name + value for name, value in found.items())
