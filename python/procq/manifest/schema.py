"""The one table of what a manifest may hold. Checking, hints and the schema for strictyaml all come from it."""

from __future__ import annotations

from procq.manifest import units
from procq.manifest.keys import Command, Section, Table, Value
from procq.names import NAME_RULE

_DURATION_RULE = "expected a number with a unit, as in 500ms, 30s or 5m"

VERSION = Value("version", units.version, "a version", "write 1", "Version of the format; 1 is the only one.")
NAME = Value(
    "name", units.name, "a valid name", NAME_RULE, "Name of the project; the manifest's directory if left out."
)
WORKERS = Value("workers", units.workers, "a whole number", "expected a whole number, 0 or more", "How many workers.")
SHELL = Value("shell", units.yes_or_no, "yes or no", "expected yes or no", "Whether /bin/sh runs the command.")
DIRECTORY = Value(
    "directory", units.directory, "a path", "expected a path", "Where workers start, relative to the manifest."
)
SIGNAL = Value("signal", units.signal, "a signal", "expected a name such as TERM", "Sent to ask a worker to leave.")
GRACE = Value("grace", units.duration, "a duration", _DURATION_RULE, "Time to leave before it is killed.")
POLICY = Value(
    "policy",
    units.restart_when,
    "a restart policy",
    "expected always, on-failure or never",
    "Which ends bring a new worker.",
)
BACKOFF = Value(
    "backoff",
    units.backoff,
    "a range of durations",
    "expected the first and the longest wait, as in 100ms..30s",
    "Waits between restarts that fail again and again.",
)
FILE = Value("file", units.log_file, "a path", "expected a path, as in logs/{queue}.log", "File for the output.")

VARIABLE = Value(
    "variable",
    units.variable,
    "the name of a variable",
    "letters, digits and underscores, not beginning with a digit",
    "",
)
QUEUE_NAME = Value("queue", units.name, "the name of a queue", NAME_RULE, "")

COMMAND = Command("command", "What a worker runs.")
ENV = Table("env", VARIABLE, Value("value", units.text, "text", "", ""), "Variables added to the environment.")
STOP = Section("stop", (SIGNAL, GRACE), "How workers are stopped.", later={"to": "the choice of who gets the signal"})
RESTART = Section(
    "restart",
    (POLICY, BACKOFF),
    "When workers are replaced.",
    short="policy",
    later={"give_up": "giving up after many failures"},
)
LOGS = Section(
    "logs",
    (FILE,),
    "Where output goes.",
    later={
        "rotate": "rotation of log files",
        "keep": "rotation of log files",
        "format": "formats of log files",
        "full": "the choice of what happens on a full disk",
    },
)

QUEUE_KEYS = (COMMAND, SHELL, WORKERS, DIRECTORY, ENV, STOP, RESTART, LOGS)
_QUEUE_LATER = {
    "user": "running workers as another user",
    "source": "reading the length of a queue",
    "scale": "automatic scaling",
    "schedule": "schedules",
    "share": "sharing the machine between queues",
    "ready": "readiness checks",
    "health": "health checks",
    "watchdog": "watchdogs",
    "limits": "limits on memory, CPU, jobs and age",
    "update": "roll-out in batches",
    "after": "an order between queues",
    "tty": "terminals for workers",
}
QUEUE = Section("queue", QUEUE_KEYS, "A queue.", short="command", later=_QUEUE_LATER)
DEFAULTS = Section("defaults", QUEUE_KEYS, "Any key of a queue, for queues that leave it out.", later=_QUEUE_LATER)
QUEUES = Table("queues", QUEUE_NAME, QUEUE, "The queues by name.")
ROOT = Section(
    "manifest",
    (VERSION, NAME, ENV, DEFAULTS, QUEUES),
    "The whole file.",
    later={"include": "included files", "env_file": "files of variables", "host": "budgets of the machine"},
)
