"""What a message about a manifest must not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from procq.errors import ManifestError
from procq.manifest import load_text

HEAD = "version: 1\nqueues:\n  emails:\n    command: sleep 60\n"


@pytest.mark.parametrize(
    "line",
    [
        "    source: {rq: 'redis://:hunter2@db/0'\n",
        "    source: redis://worker:hunter2@db/0\n",
        "    source:\n      rq: queue\n      urll: redis://:hunter2@db:6379/0\n",
        "    workers: redis://:hunter2@db:6379/0\n",
        "    source: rq+redis://:hunter2/x@host/0\n",
        "    source: rq+redis://u:p@hunter2/w@host/0\n",
        "    source: {rqq: 'redis://db/0?password=hunter2&db=1'}\n",
        "    urll: postgresql://db/app?user=me&password=hunter2\n",
        "    env:\n      URL: amqp://guest:hunter2@db//\n      URL: again\n",
    ],
)
def test_the_password_in_an_address_is_not_shown(line: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_text((HEAD + line).encode(), Path("procq.yaml"), {})
    for shown in (str(caught.value), caught.value.render(), repr(caught.value.problems)):
        assert "hunter2" not in shown
    first = caught.value.problems[0]
    assert first.offending == "" or len(first.offending) == first.length


def test_what_is_shown_stands_where_it_stood() -> None:
    with pytest.raises(ManifestError) as caught:
        load_text(f"{HEAD}    urll: redis://:hunter2@db/0  # old\n".encode(), Path("procq.yaml"), {})
    assert caught.value.problems[0].source_line == "    urll: redis://:•••••••@db/0  # old"
