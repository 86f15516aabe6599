"""The one table of what a manifest may hold.

Checking, hints, the schema for strictyaml, the JSON Schema for editors and the reference page all come from it.
"""

from __future__ import annotations

from procq.manifest import units
from procq.manifest.keys import Command, List, Nature, Section, Table, Value
from procq.manifest.scaling_schema import BUDGET_CPUS, BUDGET_MEMORY, GUARD, SCALE, SCHEDULE, SHARE, SOURCE
from procq.manifest.shapes import DURATION as _DURATION
from procq.manifest.shapes import SIZE as _SIZE
from procq.manifest.shapes import YES_NO as _YES_NO
from procq.manifest.shapes import duration as _duration
from procq.manifest.shapes import yes_no as _yes_no
from procq.manifest.supervision_schema import HEALTH, LIMITS, READY, STARTS, WATCHDOG
from procq.model import LogFormat, RestartWhen, StopTo, WhenFull
from procq.names import NAME_RULE

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_PATH = r"[^~](.|\n)*"
_SHARE = r"[0-9]+%?"
_USER_RULE = "expected the name of a user, or a number"
_GROUP_RULE = "expected the name of a group, or a number"
_LIMIT = rf"([0-9]+|{_SIZE}|unlimited)"


VERSION = Value(
    "version", units.version, "a version", "write 1", "Version of the format; 1 is the only one.", "1", numeric=True,
    choices=("1",), examples=("1",),
)  # fmt: skip
NAME = Value(
    "name",
    units.name,
    "a valid name",
    NAME_RULE,
    "Name of the project.",
    otherwise="the directory of the manifest",
    pattern=_NAME,
    numeric=True,
    examples=("shop",),
)
WORKERS = Value(
    "workers",
    units.workers,
    "a whole number",
    "expected a whole number, 0 or more, or a range as in 2..8",
    "How many workers, 0 to 10000; or the range in which their number may move, of which the least run.",
    "1",
    examples=("2", "2..8", "${EMAIL_WORKERS:-2}"),
    pattern=r"[0-9]+( *\.\. *[0-9]+)?",
    numeric=True,
)
SHELL = _yes_no("shell", "Whether `/bin/sh` runs the command.")
DIRECTORY = Value(
    "directory",
    units.directory,
    "a path",
    "expected a path",
    "Where workers start, relative to the manifest.",
    otherwise="the directory of the manifest",
    examples=("/srv/shop", "media"),
    pattern=_PATH,
    nature=Nature.ROLLING,
)
USER = Value(
    "user",
    units.account,
    "a user",
    _USER_RULE,
    "Who workers run as: a name or a number. Anybody but oneself takes root.",
    otherwise="who started procq",
    examples=("shop", "1000"),
    pattern=r"\S+",
    numeric=True,
    nature=Nature.ROLLING,
)
GROUP = Value(
    "group",
    units.account,
    "a group",
    _GROUP_RULE,
    "Their group: a name or a number.",
    otherwise="the group of `user`",
    examples=("www-data",),
    pattern=r"\S+",
    numeric=True,
    nature=Nature.ROLLING,
)
GROUPS = List(
    "groups",
    Value("group", units.account, "a group", _GROUP_RULE, "", examples=("video",), pattern=r"\S+", numeric=True),
    "Their supplementary groups, in place of those that `user` has.",
    "all groups of `user`",
    nature=Nature.ROLLING,
)
UMASK = Value(
    "umask",
    units.umask,
    "a mask of permissions",
    "expected three octal digits, as in 027",
    "Permissions that new files do not get, octal.",
    otherwise="as procq's",
    examples=("027",),
    pattern=r"0?[0-7]{3}",
    numeric=True,
    nature=Nature.ROLLING,
)
NICE = Value(
    "nice",
    units.nice,
    "a niceness",
    "expected a whole number from -20 (first) to 19 (last)",
    "How readily they leave the processor to others, -20 to 19. Less than procq's own takes root.",
    otherwise="as procq's",
    examples=("10", "-5"),
    pattern=r"-?[0-9]{1,2}",
    numeric=True,
    nature=Nature.ROLLING,
)
TTY = _yes_no(
    "tty", "Whether workers get a terminal for their output, as programs want that colour it. Both streams become one."
)
SIGNAL = Value(
    "signal",
    units.signal,
    "a signal",
    "expected a name such as TERM",
    "Sent to ask a worker to leave: a name with or without `SIG`, or a number.",
    "TERM",
    examples=("INT", "SIGQUIT", "15"),
    pattern=r"(SIG)?[A-Z0-9+-]+",
    numeric=True,
)
GRACE = _duration("grace", "How long it may take before it is killed with all it has started.", "10s", ("30s", "1.5m"))
TO = Value(
    "to",
    units.stop_to,
    "leader or group",
    "expected leader or group",
    "Who hears the signal: the worker itself, or its whole process group.",
    "leader",
    examples=("group",),
    choices=tuple(StopTo),
)
POLICY = Value(
    "policy",
    units.restart_when,
    "a restart policy",
    "expected always, on-failure or never",
    "Which ends bring a new worker.",
    "always",
    examples=("on-failure",),
    choices=tuple(RestartWhen),
)
BACKOFF = Value(
    "backoff",
    units.backoff,
    "a range of durations",
    "expected the first and the longest wait, as in 100ms..30s",
    "The first and the longest wait between restarts that fail again and again.",
    "100ms..30s",
    examples=("1s..5m",),
    pattern=rf"{_DURATION} *\.\. *{_DURATION}",
)
GIVE_UP = Value(
    "give_up",
    units.give_up,
    "a number of failures in a time",
    "expected a number and a duration, as in 10 in 5m",
    "After so many failures in so much time a worker is not started again until somebody acts.",
    otherwise="never",
    examples=("10 in 5m",),
    pattern=rf"[0-9]+ +in +{_DURATION}",
)
FILE = Value(
    "file",
    units.log_file,
    "a path",
    "expected a path, as in logs/{queue}.log",
    "A file for the output, relative to the manifest; `{queue}` and `{slot}` are filled in.",
    otherwise="none",
    examples=("logs/{queue}.{slot}.log",),
    pattern=_PATH,
)
ROTATE = Value(
    "rotate",
    units.rotate,
    "a size",
    "expected a number with a unit, as in 50MB or 64KiB",
    "The size at which the file is closed and another begun, at least 4KiB.",
    otherwise="never",
    examples=("50MB", "64KiB"),
    pattern=_SIZE,
)
ROTATE_EVERY = Value(
    "rotate_every",
    units.rotate_every,
    "a duration",
    "expected a number with a unit, as in 1d or 12h",
    "The age at which the file is closed and another begun, at least 1m.",
    otherwise="never",
    examples=("1d", "12h"),
    pattern=_DURATION,
)
KEEP = Value(
    "keep",
    units.keep,
    "a number of files",
    "expected a whole number from 0 to 1000",
    "How many closed files stay, 0 to 1000.",
    "5",
    examples=("20",),
    pattern=r"[0-9]+",
    numeric=True,
)
COMPRESS = Value(
    "compress",
    units.yes_or_no,
    "yes or no",
    "expected yes or no",
    "Whether closed files are compressed: `FILE.1.gz`.",
    "no",
    examples=("yes",),
    choices=_YES_NO,
)
TOTAL = Value(
    "total",
    units.total,
    "a size",
    "expected a number with a unit, as in 1GB or 200MiB",
    "What the file and its closed ones may take together, at least 16KiB: the oldest go first. Without `rotate` a file "
    "is closed at a quarter of it.",
    otherwise="no limit",
    examples=("1GB", "200MiB"),
    pattern=_SIZE,
)
FORMAT = Value(
    "format",
    units.log_format,
    "a format",
    "expected text, prefixed or json",
    "How lines stand in the file: as they were written, behind time and worker, or each as a JSON object.",
    "text",
    examples=("json",),
    choices=tuple(LogFormat),
)
FULL = Value(
    "full",
    units.when_full,
    "drop or block",
    "expected drop or block",
    "What becomes of output that the disk does not take: it is counted and dropped, or the worker waits.",
    "drop",
    examples=("block",),
    choices=tuple(WhenFull),
)
OTLP = Value(
    "otlp",
    units.yes_or_no,
    "yes or no",
    "expected yes or no",
    "Whether each line is also sent to where procq sends its telemetry, as a record of a log.",
    "no",
    examples=("yes",),
    choices=_YES_NO,
)
SURGE = Value(
    "surge",
    units.surge,
    "a number of workers",
    "expected a whole number or a share, as in 1 or 25%",
    "How many workers more than wanted may run meanwhile: a number, or a share of all.",
    "0",
    examples=("1", "100%"),
    pattern=_SHARE,
    numeric=True,
)
BATCH = Value(
    "batch",
    units.batch,
    "a number of workers",
    "expected a whole number or a share, as in 1 or 25%",
    "How many are replaced at a time: a number, or a share of all; at least one.",
    "25%",
    examples=("1", "50%"),
    pattern=_SHARE,
    numeric=True,
)
PAUSE = _duration("pause", "How long a new worker must have run before the next are replaced.", "1s", ("2s",))
BUDGET_WORKERS = Value(
    "workers",
    units.budget_workers,
    "a whole number",
    "expected a whole number, 1 or more",
    "How many workers this machine bears; the least numbers of all queues must fit.",
    otherwise="as many as the queues want",
    examples=("64",),
    pattern=r"[0-9]+",
    numeric=True,
)

VARIABLE = Value(
    "variable",
    units.variable,
    "the name of a variable",
    "letters, digits and underscores, not beginning with a digit",
    "",
    pattern=r"(?!PROCQ_)[A-Za-z_][A-Za-z0-9_]*",
    examples=("PYTHONUNBUFFERED",),
)
QUEUE_NAME = Value("queue", units.name, "the name of a queue", NAME_RULE, "", pattern=_NAME, examples=("emails",))
LIMIT_NAME = Value(
    "limit",
    units.limit_name,
    "the name of a limit",
    f"expected one of {', '.join(units.LIMITS)}",
    "",
    choices=units.LIMITS,
    examples=("nofile",),
)
LIMIT = Value(
    "limit",
    units.limit,
    "a limit",
    "expected a whole number, a size as in 512MiB, unlimited, or two of them as in 1024..4096",
    "",
    pattern=rf"{_LIMIT}( *\.\. *{_LIMIT})?",
    numeric=True,
    examples=("1024", "2048..4096", "unlimited"),
)

COMMAND = Command(
    "command",
    "What a worker runs: text, or a list of words.",
    "must be there, or in `defaults`",
    ("celery -A shop worker -Q emails -c 1", "rq worker reports"),
)
ENV = Table(
    "env",
    VARIABLE,
    Value("value", units.text, "text", "", "", numeric=True, examples=("1",)),
    "Variables added to the environment.",
    nature=Nature.ROLLING,
)
ENV_FILE = List(
    "env_file",
    Value("path", units.env_file, "a path", "expected a path, as in .env", "", pattern=_PATH, examples=(".env",)),
    "Files of variables, `NAME=value` a line, relative to the manifest; `env` beside it wins.",
    nature=Nature.ROLLING,
)
INCLUDE = List(
    "include",
    Value(
        "path",
        units.include,
        "a path",
        "expected a path or a pattern, as in queues/*.yaml",
        "",
        pattern=r"[^~](.|\n)*\.ya?ml",
        examples=("queues/*.yaml",),
    ),
    "Files with more queues: paths or patterns, relative to the manifest.",
)
RLIMITS = Table(
    "rlimits",
    LIMIT_NAME,
    LIMIT,
    f"Resource limits of each process: {', '.join(units.LIMITS)}. One value, or the soft and the hard one as in "
    "`1024..4096`; a size as `512MiB` where bytes are counted; `unlimited`.",
    "as procq's",
    nature=Nature.ROLLING,
)
AFTER = List(
    "after",
    Value("queue", units.name, "the name of a queue", NAME_RULE, "", pattern=_NAME, numeric=True, examples=("redis",)),
    "Queues that start before this one, and stop after it.",
)
STOP = Section("stop", (SIGNAL, GRACE, TO), "How workers are stopped.")
RESTART = Section("restart", (POLICY, BACKOFF, GIVE_UP), "When workers are replaced.", short="policy")
LOGS = Section(
    "logs",
    (FILE, ROTATE, ROTATE_EVERY, KEEP, TOTAL, COMPRESS, FORMAT, FULL, OTLP),
    "Where output goes besides memory.",
)
UPDATE = Section("update", (SURGE, BATCH, PAUSE), "How workers are replaced when what they run has changed.")

QUEUE_KEYS = (
    COMMAND,
    SHELL,
    WORKERS,
    DIRECTORY,
    ENV,
    ENV_FILE,
    USER,
    GROUP,
    GROUPS,
    UMASK,
    NICE,
    RLIMITS,
    TTY,
    AFTER,
    STOP,
    RESTART,
    READY,
    HEALTH,
    WATCHDOG,
    LIMITS,
    UPDATE,
    LOGS,
    SOURCE,
    SCALE,
    SCHEDULE,
    SHARE,
)
QUEUE = Section("queue", QUEUE_KEYS, "A queue.", short="command")
DEFAULTS = Section("defaults", QUEUE_KEYS, "Any key of a queue, for queues that leave it out.")
QUEUES = Table("queues", QUEUE_NAME, QUEUE, "The queues by name.", "must be there")
BUDGET = Section(
    "budget",
    (BUDGET_WORKERS, BUDGET_CPUS, BUDGET_MEMORY),
    "What this machine may spend on workers.",
)
HOST = Section("host", (BUDGET, GUARD, STARTS), "The machine.")
ROOT = Section("manifest", (VERSION, NAME, INCLUDE, ENV_FILE, ENV, HOST, DEFAULTS, QUEUES), "The whole file.")
INCLUDED = Section("included file", (VERSION, QUEUES), "A file that is included into a manifest.")
