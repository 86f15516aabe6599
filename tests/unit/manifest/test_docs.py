"""Every example of the page about manifests loads, and every key of the schema is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from procq.errors import ManifestError
from procq.manifest import load_text, schema
from procq.manifest.keys import Key, Section

PAGE = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_load(block: str) -> None:
    assert load_text(block.encode(), Path("/srv/shop/procq.yaml"), {}).queues


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 5


def test_all_keys_are_shown() -> None:
    """Each key stands somewhere in an example or is told in the text; what it means in detail is in the reference."""
    keys = {below.name for key in (*schema.ROOT.keys, *schema.QUEUE_KEYS) for below in _with_those_below(key)}
    shown = set(
        re.findall(r"^ *(\w+):", "\n".join(re.findall(r"^```.*?^```", PAGE, re.DOTALL | re.MULTILINE)), re.MULTILINE)
    )
    assert keys - shown - set(re.findall(r"`(\w+)[`:]", PAGE)) == set()


def _with_those_below(key: Key) -> list[Key]:
    return [key, *(key.keys if isinstance(key, Section) and key is not schema.DEFAULTS else ())]


def test_the_shown_error_is_real() -> None:
    shown = re.search(r"^```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert shown is not None
    text = b"queues:\n  emails:\n    command: rq\n    stop:\n      signal: TERM\n      grace: 30\n"
    with pytest.raises(ManifestError) as caught:
        load_text(text, Path("procq.yaml"), {})
    assert caught.value.render() + "\n" == shown[1]
