"""Any manifest, printed in any of the ways one may write it, is read back as it was."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from procq.manifest import load_text
from procq.model import Backoff, LogPolicy, Manifest, Queue, RestartPolicy, RestartWhen, StopPolicy

DIRECTORY = "/srv/shop"
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,20}\Z")
TEXT = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" \n\t"), max_size=30)
VARIABLES = st.from_regex(r"\A[A-Z_][A-Z0-9_]{0,8}\Z").filter(lambda name: not name.startswith("PROCQ_"))
SECONDS = st.integers(1, 10**7).map(lambda ms: ms / 1000)
QUEUES = st.builds(
    Queue,
    name=st.just(""),
    command=st.just(""),
    argv=st.lists(TEXT, max_size=4).map(lambda rest: ("rq", *rest)),
    workers=st.integers(0, 10_000),
    directory=st.just(DIRECTORY) | NAMES.map(lambda name: f"{DIRECTORY}/{name}"),
    env=st.dictionaries(VARIABLES, TEXT, max_size=3),
    stop=st.builds(StopPolicy, st.sampled_from([1, 2, 3, 10, 15]), SECONDS),
    restart=st.builds(
        RestartPolicy,
        st.sampled_from(RestartWhen),
        st.tuples(SECONDS, SECONDS).map(lambda pair: Backoff(min(pair), max(pair))),
    ),
    logs=st.builds(LogPolicy, st.none() | NAMES.map(lambda name: f"{DIRECTORY}/{name}.{{slot}}.log")),
)
MANIFESTS = st.tuples(NAMES, st.dictionaries(NAMES, QUEUES, min_size=1, max_size=4))


def quoted(text: str, style: random.Random) -> str:
    """`text` as a double-quoted scalar, with references escaped."""
    escaped = text.replace("${", "$${").replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n").replace("\t", "\\t")
    simple = text.isascii() and text.isalnum()
    return style.choice([text, f"'{text}'"]) if simple and style.random() < 0.5 else f'"{escaped}"'


def shuffled(blocks: list[list[str]], style: random.Random) -> Iterator[str]:
    style.shuffle(blocks)
    for block in blocks:
        if style.random() < 0.3:
            yield "# a comment"
        yield from block


def indented(lines: Iterator[str] | list[str], by: int = 2) -> list[str]:
    return [" " * by + line for line in lines]


def milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def print_queue(queue: Queue, style: random.Random) -> list[str]:
    restart = queue.restart
    blocks = [
        ["command:", *indented([f"- {quoted(word, style)}" for word in queue.argv])],
        [f"workers: {queue.workers}"],
        [f"directory: {quoted(queue.directory, style)}"],
        ["stop:", *indented([f"signal: {queue.stop.signal}", f"grace: {milliseconds(queue.stop.grace)}"])],
        [
            "restart:",
            f"  policy: {restart.when}",
            f"  backoff: {milliseconds(restart.backoff.initial)}..{milliseconds(restart.backoff.maximum)}",
        ],
    ]
    if queue.env:
        blocks.append(["env:", *indented([f"{name}: {quoted(value, style)}" for name, value in queue.env.items()])])
    if queue.logs.file:
        blocks.append(["logs:", f"  file: {quoted(queue.logs.file, style)}"])
    return [f"{queue.name}:", *indented(shuffled(blocks, style), style.choice([1, 2, 4]))]


def print_manifest(manifest: Manifest, style: random.Random) -> str:
    queues = [line for queue in manifest.queues.values() for line in print_queue(queue, style)]
    blocks = [[f"name: {manifest.name}"], ["version: 1"], ["queues:", *indented(queues)]]
    return "\n".join(shuffled(blocks, style)) + "\n"


@settings(max_examples=60, deadline=None)
@given(MANIFESTS, st.integers(0, 2**32))
def test_what_is_printed_is_read_back(parts: tuple[str, dict[str, Queue]], seed: int) -> None:
    name, queues = parts
    named = {
        key: Queue(key, shlex.join(q.argv), q.argv, q.workers, q.directory, q.env, q.stop, q.restart, q.logs)
        for key, q in queues.items()
    }
    manifest = Manifest(name, named, DIRECTORY)
    text = print_manifest(manifest, random.Random(seed))
    assert load_text(text.encode(), Path(DIRECTORY) / "procq.yaml", {}) == manifest
