"""The part of the table about readiness, health, limits and the rate of starts; see `procq.manifest.schema`."""

from __future__ import annotations

from procq.manifest import supervision_units as units
from procq.manifest.keys import Command, Nature, Section, Value
from procq.manifest.shapes import DURATION, DURATION_RULE, SIZE
from procq.manifest.units import duration

_UNLIMITED = units.UNLIMITED
_SPEAKS = "The worker has to say so on its notify socket."
_URL_RULE = "expected a URL, as in http://127.0.0.1:8000/healthz"
_URL = r"https?://[!-~]+"
_FILLED = "`{queue}` and `{slot}` are filled in."
_PORT_RULE = "expected the number of a port, 1 to 65535"
_WHOLE_OR_UNLIMITED = r"([0-9]+|unlimited)"


def _http(about: str) -> Value[str]:
    examples = ("http://127.0.0.1:8000/healthz", "http://127.0.0.1:900{slot}/")
    return Value("http", units.url, "a URL", _URL_RULE, about, otherwise="none", examples=examples, pattern=_URL)


def _port(name: str, about: str) -> Value[int]:
    return Value(
        name, units.port, "a port", _PORT_RULE, about, otherwise="none", examples=("8000",), pattern="[0-9]{1,5}",
        numeric=True,
    )  # fmt: skip


def _seconds(name: str, about: str, default: str, read: object, example: str) -> Value[float]:
    return Value(name, read, "a duration", DURATION_RULE, about, default, "", (example,), (), DURATION)  # type: ignore[arg-type]


READY_LOG = Value(
    "log",
    units.pattern,
    "a regular expression",
    "expected a regular expression, as in listening on port [0-9]+",
    "Ready when a line of its output matches this regular expression.",
    otherwise="none",
    examples=("listening on port [0-9]+", "^celery@.* ready"),
    pattern=r"(.|\n)+",
)
READY_PORT = _port("port", "Ready when this port of 127.0.0.1 accepts a connection.")
READY_HTTP = _http(f"Ready when a GET of this URL is answered with 200 to 399. {_FILLED}")
READY_DELAY = Value(
    "delay",
    duration,
    "a duration",
    DURATION_RULE,
    "Ready when it has run for so long.",
    otherwise="none",
    examples=("2s",),
    pattern=DURATION,
)
READY_NOTIFY = Value(
    "notify",
    units.yes,
    "yes",
    "expected yes",
    "Ready when it sends `READY=1` to its notify socket, as services of systemd do.",
    otherwise="none",
    examples=("yes",),
    choices=("yes", "true"),
)
READY_TIMEOUT = _seconds(
    "timeout", "A worker that is not ready after so long has failed.", "60s", units.ready_timeout, "5m"
)
READY_WORD = Value(
    "ready",
    units.ready_word,
    "a way to be ready",
    "expected spawned or notify, or keys below it: log, port, http, delay",
    "When a worker counts as ready: as soon as it executes, when it says so, or what one of the keys below it says.",
    "spawned",
    examples=("notify",),
    choices=tuple(units.READY_WORDS),
)
READY = Section(
    "ready",
    (READY_LOG, READY_PORT, READY_HTTP, READY_DELAY, READY_NOTIFY, READY_TIMEOUT),
    "When a worker counts as ready, so that others may rely on it: a word, or one of the keys and a timeout.",
    word=READY_WORD,
)
READY_KINDS = (READY_LOG, READY_PORT, READY_HTTP, READY_DELAY, READY_NOTIFY)

HEALTH_HTTP = _http(f"Healthy when a GET of this URL is answered with 200 to 399. {_FILLED}")
HEALTH_TCP = _port("tcp", "Healthy when this port of 127.0.0.1 accepts a connection.")
HEALTH_COMMAND = Command(
    "command",
    "Healthy when this command exits with 0. It runs as the worker does: environment, directory, user, limits.",
    "none",
    ("celery -A shop inspect ping", "./healthy"),
    nature=Nature.LIVE,
)
HEALTH_EVERY = _seconds("every", "How often a ready worker is asked.", "10s", units.every, "30s")
HEALTH_TIMEOUT = _seconds("timeout", "No answer after so long, at most 10m, is a bad one.", "5s", units.answer, "500ms")
HEALTH_FAILURES = Value(
    "failures",
    units.failures,
    "a number of failures",
    "expected a whole number from 1 to 1000",
    "So many bad answers in a row, and the worker is replaced.",
    "3",
    examples=("5",),
    pattern=r"[0-9]+",
    numeric=True,
)
HEALTH_WORD = Value(
    "health",
    units.health_word,
    "a health check",
    "expected keys below it: http, tcp or command",
    "What a ready worker is asked, again and again: one of the keys below it; `none` where `defaults` have one.",
    units.NONE,
    examples=(units.NONE,),
    choices=(units.NONE,),
)
HEALTH = Section(
    "health",
    (HEALTH_HTTP, HEALTH_TCP, HEALTH_COMMAND, HEALTH_EVERY, HEALTH_TIMEOUT, HEALTH_FAILURES),
    "What a ready worker is asked to know that it does its work: one of http, tcp and command, and how often.",
    word=HEALTH_WORD,
)
HEALTH_KINDS = (HEALTH_HTTP, HEALTH_TCP, HEALTH_COMMAND)

WATCHDOG = Value(
    "watchdog",
    units.watchdog,
    "a duration",
    f"{DURATION_RULE}, or none",
    "A worker that does not send `WATCHDOG=1` to its notify socket for so long hangs, and is replaced. At least 1s.",
    units.NONE,
    examples=("60s",),
    pattern=rf"({DURATION}|none)",
    nature=Nature.ROLLING,
)

MEMORY = Value(
    "memory",
    units.memory,
    "a size",
    "expected a number with a unit, as in 512MiB, or unlimited",
    "Memory of its whole process tree; pages that its processes share count once.",
    _UNLIMITED,
    examples=("512MiB",),
    pattern=rf"({SIZE}|unlimited)",
)
CPU = Value(
    "cpu",
    units.cpu,
    "a share of a processor",
    "expected a share of one processor, as in 200% for two, or unlimited",
    "Processor time of its whole process tree, over a minute: 100% keeps one processor busy.",
    _UNLIMITED,
    examples=("200%",),
    pattern=r"([0-9]+%|unlimited)",
)
PIDS = Value(
    "pids",
    units.pids,
    "a whole number",
    "expected a whole number, 1 or more, or unlimited",
    "Processes and threads of its whole process tree.",
    _UNLIMITED,
    examples=("100",),
    pattern=_WHOLE_OR_UNLIMITED,
    numeric=True,
)
JOBS = Value(
    "jobs",
    units.jobs,
    "a whole number",
    "expected a whole number, 1 or more, or unlimited",
    f"How many jobs it does. {_SPEAKS}",
    _UNLIMITED,
    examples=("1000",),
    pattern=_WHOLE_OR_UNLIMITED,
    numeric=True,
)
AGE = Value(
    "age",
    units.age,
    "a duration",
    f"{DURATION_RULE}, or unlimited",
    "How long it runs, less a share of up to a tenth that is different for each, so that not all leave at once.",
    _UNLIMITED,
    examples=("6h",),
    pattern=rf"({DURATION}|unlimited)",
)
JOB_TIMEOUT = Value(
    "job_timeout",
    units.age,
    "a duration",
    f"{DURATION_RULE}, or unlimited",
    f"How long one job takes; a worker that is longer at it has failed. {_SPEAKS}",
    _UNLIMITED,
    examples=("5m",),
    pattern=rf"({DURATION}|unlimited)",
)
LIMITS = Section(
    "limits",
    (MEMORY, CPU, PIDS, JOBS, AGE, JOB_TIMEOUT),
    "What a worker may use before another one takes its place.",
)

STARTS = Value(
    "starts",
    units.starts,
    "a number of starts in a time",
    "expected a number and a duration, as in 250 in 1s",
    "How many workers are started in so much time, of all queues together.",
    "250 in 1s",
    examples=("20 in 1s",),
    pattern=rf"[0-9]+ +in +{DURATION}",
)
