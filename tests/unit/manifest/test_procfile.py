"""A plain Procfile: what it means, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from procq.errors import ManifestError
from procq.manifest import load_text
from procq.model import Manifest, Queue


def read(text: str, name: str = "Procfile") -> Manifest:
    return load_text(text.encode(), Path("/srv/shop") / name, {})


@pytest.mark.parametrize("name", ["Procfile", "Procfile.dev", "queues.txt"])
def test_lines_are_queues_run_by_a_shell(name: str) -> None:
    found = read("# workers\n\nweb: gunicorn shop -b :$PORT\n  emails :cd shop && rq worker: x # not a comment\n", name)
    assert found == Manifest(
        "shop",
        {
            "web": Queue(
                "web",
                "gunicorn shop -b :$PORT",
                ("/bin/sh", "-c", "exec gunicorn shop -b :$PORT"),
                directory="/srv/shop",
            ),
            "emails": Queue(
                "emails",
                "cd shop && rq worker: x # not a comment",
                ("/bin/sh", "-c", "cd shop && rq worker: x # not a comment"),
                directory="/srv/shop",
            ),
        },
        "/srv/shop",
    )


def test_all_problems_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        read("web: x\n  just words\n-b: y\nweb: z\nempty:\n")
    assert [f"{p.line}:{p.column} {p.message}" for p in caught.value.problems] == [
        "2:3 this line is not `name: command`",
        '3:1 "-b" is not the name of a queue',
        '4:1 "web" stands here twice',
        '5:1 "empty" has no command',
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_procfile_without_processes(text: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(text)
    assert [(p.line, p.message) for p in caught.value.problems] == [(0, "the Procfile has no processes")]
