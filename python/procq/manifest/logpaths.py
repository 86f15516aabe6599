"""Log files of different queues that would get into each other's way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from procq.manifest import schema
from procq.manifest.fields import Fields, Found
from procq.manifest.units import Refused
from procq.model import LogPolicy, WorkerId

_BESIDE = re.compile(r"(?P<file>.+?)(?P<closed>\.[0-9]+(?:\.gz)?|\.gz\.tmp)?(?P<index>\.idx)?")
"""What procq itself puts beside a log file: closed ones, compressed or not or just being so, and for each an index."""


def check(queues: Sequence[tuple[str, Fields]], directory: str) -> None:
    """Notes files that another queue's rotation or index would overwrite, and those of two users.

    `directory` is the manifest's. A queue stands for all its workers by the first one.
    """
    named = {path: (queue, found, fields) for queue, path, found, fields in _paths(queues, directory)}
    for queue, path, found, fields in _paths(queues, directory):
        other, _, theirs = named[path]
        if other != queue and _user(theirs) != _user(fields):
            found.problem(
                f'queues "{queue}" and "{other}" run as different users and write the same file',
                "name a file for each, as in logs/{queue}.{slot}.log",
            )
        for file, rotated in _owners(path):
            if file in named and (not rotated or _rotates(named[file][2])):
                found.problem(
                    f'this is where the closed files and indexes of the log of queue "{named[file][0]}" stand',
                    "choose another name, such as one that ends in .log",
                )


def _owners(path: str) -> Iterator[tuple[str, bool]]:
    """The log files beside which `path` would be made by procq itself, and whether only where they are rotated."""
    match = _BESIDE.fullmatch(path)
    if match is None:
        return
    if match["index"]:
        yield path.removesuffix(".idx"), False
    if match["closed"]:
        yield match["file"], True


def _paths(queues: Sequence[tuple[str, Fields]], directory: str) -> Iterator[tuple[str, str, Found, Fields]]:
    for name, fields in queues:
        logs = fields.section(schema.LOGS)
        try:
            file = logs.optional(schema.FILE)
        except Refused:
            continue
        found = logs.found("file")
        if file and found is not None:
            path = LogPolicy(file).path(WorkerId(name, 1))
            assert path is not None
            yield name, os.path.normpath(os.path.join(directory, path)), found, fields


def _rotates(fields: Fields) -> bool:
    logs = fields.section(schema.LOGS)
    return any(logs.found(key.name) is not None for key in (schema.ROTATE, schema.ROTATE_EVERY, schema.TOTAL))


def _user(fields: Fields) -> str | None:
    try:
        return fields.optional(schema.USER)
    except Refused:
        return None
