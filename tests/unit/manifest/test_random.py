"""Any manifest, printed in any of the ways one may write it, is read back as it was."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.manifest import load_text
from procq.model import (
    After,
    Backoff,
    CommandCheck,
    GiveUp,
    Health,
    HealthCheck,
    HttpCheck,
    Limit,
    Limits,
    LogFormat,
    LogLine,
    LogPolicy,
    Manifest,
    Notify,
    Queue,
    Readiness,
    ReadyCheck,
    RestartPolicy,
    RestartWhen,
    Share,
    Spawned,
    StartRate,
    StopPolicy,
    StopTo,
    TcpCheck,
    UpdatePolicy,
    WhenFull,
)

DIRECTORY = "/srv/shop"
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,20}\Z")
TEXT = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" \n\t"), max_size=30)
VARIABLES = st.from_regex(r"\A[A-Z_][A-Z0-9_]{0,8}\Z").filter(lambda name: not name.startswith("PROCQ_"))
SECONDS = st.integers(1, 10**7).map(lambda ms: ms / 1000)
SHARES = st.builds(Share, st.integers(0, 10_000)) | st.builds(Share, st.integers(0, 100), st.just(True))
NUMBERS = st.integers(0, 2**40)
LIMITS = NUMBERS.map(lambda n: Limit(n, n)) | st.tuples(NUMBERS, NUMBERS).map(lambda p: Limit(min(p), max(p)))
FILES = NAMES.map(lambda name: f"{DIRECTORY}/{name}.{{slot}}.log")
PORTS = st.integers(1, 65_535).map(TcpCheck)
URLS = st.sampled_from(
    ["http://127.0.0.1/", "https://[::1]:8443/a?b={queue}&c", "http://{queue}.local/{slot}", "http://h/%20"]
).map(HttpCheck)
DELAYS = st.integers(0, 10**6).map(lambda ms: After(ms / 1000))
LINES = st.sampled_from(["up", r"^ready in \d+ ms$", "a{2,3} | b", "é(?i)X", r"\$\{", "[#'\"]"]).map(LogLine)
WORDS = st.lists(TEXT, max_size=3).map(lambda rest: ("./healthy", *rest))
COMMANDS = WORDS.map(lambda argv: CommandCheck(shlex.join(argv), argv))
HEALTHS = st.builds(
    Health,
    PORTS | URLS | COMMANDS,
    st.integers(100, 10**6).map(lambda ms: ms / 1000),
    st.integers(10, 600_000).map(lambda ms: ms / 1000),
    st.integers(1, 1000),
)
READY = st.builds(
    Readiness,
    st.just(Spawned()) | st.just(Notify()) | PORTS | URLS | DELAYS | LINES,
    st.integers(1_001_000, 10**8).map(lambda ms: ms / 1000),
)
QUEUE_LIMITS = st.builds(
    Limits,
    st.none() | st.integers(1 << 20, 2**50),
    st.none() | st.integers(1, 10**6).map(lambda percent: percent / 100),
    st.none() | st.integers(1, 4_194_304),
    st.none() | st.integers(1, 999_999_999),
    st.none() | st.integers(1000, 10**7).map(lambda ms: ms / 1000),
    st.none() | st.integers(1000, 10**7).map(lambda ms: ms / 1000),
)
QUEUES = st.builds(
    Queue,
    name=st.just(""),
    command=st.just(""),
    argv=st.lists(TEXT, max_size=4).map(lambda rest: ("rq", *rest)),
    workers=st.integers(0, 9_999),
    directory=st.just(DIRECTORY) | NAMES.map(lambda name: f"{DIRECTORY}/{name}"),
    env=st.dictionaries(VARIABLES, TEXT, max_size=3),
    stop=st.builds(StopPolicy, st.sampled_from([1, 2, 3, 10, 15]), SECONDS, st.sampled_from(StopTo)),
    restart=st.builds(
        RestartPolicy,
        st.sampled_from(RestartWhen),
        st.tuples(SECONDS, SECONDS).map(lambda pair: Backoff(min(pair), max(pair))),
        st.none() | st.builds(GiveUp, st.integers(1, 100), SECONDS),
    ),
    logs=st.just(LogPolicy())
    | st.builds(
        LogPolicy,
        FILES,
        st.none() | st.integers(4096, 2**50),
        st.integers(0, 1000),
        st.sampled_from(LogFormat),
        st.sampled_from(WhenFull),
    ),
    most=st.none() | st.just(10_000),
    umask=st.none() | st.integers(0, 0o777),
    nice=st.none() | st.just(19),
    rlimits=st.dictionaries(st.sampled_from(["core", "fsize", "stack", "cpu"]), LIMITS, max_size=2),
    tty=st.booleans(),
    update=st.builds(UpdatePolicy, SHARES, SHARES.filter(lambda share: share.number > 0), SECONDS),
    ready=READY,
    health=st.none() | HEALTHS,
    watchdog=st.none() | st.integers(1000, 10**7).map(lambda ms: ms / 1000),
    limits=QUEUE_LIMITS,
)
STARTS = st.builds(StartRate, st.integers(1, 100_000), st.integers(1, 3_600_000).map(lambda ms: ms / 1000))
MANIFESTS = st.tuples(NAMES, st.dictionaries(NAMES, QUEUES, min_size=1, max_size=4))


@pytest.fixture(autouse=True, scope="module")
def as_root() -> Iterator[None]:
    """Who may set every limit."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.geteuid", lambda: 0)
        yield


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


def bounds(limit: Limit, style: random.Random) -> str:
    short = limit.soft == limit.hard and style.random() < 0.5
    return f"{limit.soft}" if short else f"{limit.soft}{style.choice(['..', ' .. '])}{limit.hard}"


def print_check(check: ReadyCheck | HealthCheck, style: random.Random) -> list[str]:
    """The lines of a check; none for what is left out, and for ports, which have two names."""
    match check:
        case LogLine(pattern):
            return [f"log: {quoted(pattern, style)}"]
        case After(seconds):
            return [f"delay: {milliseconds(seconds)}"]
        case HttpCheck(url):
            return [f"http: {quoted(url, style)}"]
        case CommandCheck(argv=argv):
            return ["command:", *indented([f"- {quoted(word, style)}" for word in argv])]
        case Notify():
            return [f"notify: {style.choice(['yes', 'true'])}"]
        case _:
            return []


def print_ready(ready: Readiness, style: random.Random) -> list[str]:
    port = [f"port: {ready.check.port}"] if isinstance(ready.check, TcpCheck) else []
    return ["ready:", *indented([*port, *print_check(ready.check, style), f"timeout: {milliseconds(ready.timeout)}"])]


def print_health(health: Health | None, style: random.Random) -> list[str]:
    if health is None:
        return style.choice([[], ["health: none"]])
    port = [f"tcp: {health.check.port}"] if isinstance(health.check, TcpCheck) else []
    lines = [
        *port,
        *print_check(health.check, style),
        f"every: {milliseconds(health.every)}",
        f"timeout: {milliseconds(health.timeout)}",
    ]
    return ["health:", *indented([*lines, f"failures: {health.failures}"])]


def print_limits(limits: Limits, style: random.Random) -> list[str]:
    texts = {
        "memory": None if limits.memory is None else f"{limits.memory}B",
        "cpu": None if limits.cpu is None else f"{round(limits.cpu * 100)}%",
        "pids": limits.pids,
        "jobs": limits.jobs,
        "age": None if limits.age is None else milliseconds(limits.age),
        "job_timeout": None if limits.job_timeout is None else milliseconds(limits.job_timeout),
    }
    lines = [f"{name}: {'unlimited' if text is None else text}" for name, text in texts.items()]
    kept = [line for line in lines if "unlimited" not in line or style.random() < 0.3]
    return ["limits:", *indented(kept)] if kept else []


def print_queue(queue: Queue, style: random.Random) -> list[str]:
    restart = queue.restart
    blocks = [
        ["command:", *indented([f"- {quoted(word, style)}" for word in queue.argv])],
        [f"workers: {queue.workers}" if queue.most is None else f"workers: {queue.workers}..{queue.most}"],
        [f"directory: {quoted(queue.directory, style)}"],
        [
            "stop:",
            f"  signal: {queue.stop.signal}",
            f"  grace: {milliseconds(queue.stop.grace)}",
            f"  to: {queue.stop.to}",
        ],
        [f"tty: {'yes' if queue.tty else 'no'}"],
        [
            "update:",
            f"  surge: {queue.update.surge}",
            f"  batch: {queue.update.batch}",
            f"  pause: {milliseconds(queue.update.pause)}",
        ],
        [
            "restart:",
            f"  policy: {restart.when}",
            f"  backoff: {milliseconds(restart.backoff.initial)}..{milliseconds(restart.backoff.maximum)}",
        ],
    ]
    blocks.append(print_ready(queue.ready, style))
    blocks += [lines for lines in (print_health(queue.health, style), print_limits(queue.limits, style)) if lines]
    if queue.watchdog is not None or style.random() < 0.3:
        blocks.append([f"watchdog: {'none' if queue.watchdog is None else milliseconds(queue.watchdog)}"])
    if queue.env:
        blocks.append(["env:", *indented([f"{name}: {quoted(value, style)}" for name, value in queue.env.items()])])
    if restart.give_up is not None:
        next(block for block in blocks if block[0] == "restart:").append(
            f"  give_up: {restart.give_up.failures} in {milliseconds(restart.give_up.within)}"
        )
    if queue.umask is not None:
        blocks.append([f"umask: {queue.umask:03o}"])
    if queue.nice is not None:
        blocks.append([f"nice: {queue.nice}"])
    if queue.after:
        blocks.append(["after:", *indented([f"- {name}" for name in queue.after])])
    if queue.rlimits:
        blocks.append(["rlimits:", *indented([f"{n}: {bounds(limit, style)}" for n, limit in queue.rlimits.items()])])
    if queue.logs.file:
        logs = [f"  keep: {queue.logs.keep}", f"  format: {queue.logs.format}", f"  full: {queue.logs.full}"]
        rotate = [] if queue.logs.rotate is None else [f"  rotate: {queue.logs.rotate}B"]
        blocks.append(["logs:", f"  file: {quoted(queue.logs.file, style)}", *logs, *rotate])
    return [f"{queue.name}:", *indented(shuffled(blocks, style), style.choice([1, 2, 4]))]


def print_manifest(manifest: Manifest, style: random.Random) -> str:
    queues = [line for queue in manifest.queues.values() for line in print_queue(queue, style)]
    starts = f"starts: {manifest.starts.number} in {milliseconds(manifest.starts.within)}"
    blocks = [
        [f"name: {manifest.name}"],
        ["version: 1"],
        ["host:", *indented([starts])],
        ["queues:", *indented(queues)],
    ]
    return "\n".join(shuffled(blocks, style)) + "\n"


@settings(max_examples=60, deadline=None)
@given(MANIFESTS, STARTS, st.integers(0, 2**32))
def test_what_is_printed_is_read_back(parts: tuple[str, dict[str, Queue]], starts: StartRate, seed: int) -> None:
    name, queues = parts
    names = list(queues)
    # Each comes after some of those before it: their waves are the longest ways to a queue without any.
    chance = random.Random(seed)
    after = {key: tuple(n for n in names[:place] if chance.random() < 0.4) for place, key in enumerate(names)}
    wave: dict[str, int] = {}
    for key in names:
        wave[key] = 1 + max((wave[each] for each in after[key]), default=-1)
    named = {
        key: replace(q, name=key, command=shlex.join(q.argv), after=after[key], wave=wave[key])
        for key, q in queues.items()
    }
    manifest = Manifest(name, named, DIRECTORY, starts=starts)
    text = print_manifest(manifest, random.Random(seed))
    assert load_text(text.encode(), Path(DIRECTORY) / "procq.yaml", {}) == manifest
