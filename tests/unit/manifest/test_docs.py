"""Every example of the reference page loads, and every key of the schema is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from procq.errors import ManifestError
from procq.manifest import load_text, schema
from procq.manifest.keys import Section

PAGE = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_load(block: str) -> None:
    assert load_text(block.encode(), Path("/srv/shop/procq.yaml"), {}).queues


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 5


def test_all_keys_are_described() -> None:
    described = set(re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE))
    top = {key.name for key in schema.ROOT.keys}
    queue = {
        f"{key.name}.{below.name}" if below else key.name
        for key in schema.QUEUE_KEYS
        for below in (key.keys if isinstance(key, Section) else [None])
    }
    assert described == top | queue


def test_the_shown_error_is_real() -> None:
    shown = re.search(r"^```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert shown is not None
    text = b"queues:\n  emails:\n    command: rq\n    stop:\n      signal: TERM\n      grace: 30\n"
    with pytest.raises(ManifestError) as caught:
        load_text(text, Path("procq.yaml"), {})
    assert caught.value.render() + "\n" == shown[1]
