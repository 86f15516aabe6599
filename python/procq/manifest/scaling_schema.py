"""The part of the table about sources, scaling, schedules and shares; see `procq.manifest.schema`."""

from __future__ import annotations

from procq.manifest import scaling_units as units
from procq.manifest.keys import Section, Sections, Value
from procq.manifest.shapes import DURATION, DURATION_RULE, SIZE
from procq.manifest.units import size
from procq.rules import Style

_AMOUNT = r"[0-9]+(\.[0-9]+)?"
_PERCENT = r"[0-9]+(\.[0-9]+)?%"
_WORKERS = "expected a whole number, 0 or more"
_SIZE_RULE = "expected a number with a unit, as in 300MiB"


def _seconds(name: str, read: object, about: str, otherwise: str, example: str) -> Value[float]:
    return Value(name, read, "a duration", DURATION_RULE, about, None, otherwise, (example,), (), DURATION)  # type: ignore[arg-type]


SOURCE_URL = Value(
    "url",
    units.source_url,
    "a source",
    "expected a URL, as in rq+redis://127.0.0.1:6379/0?queue=emails",
    "Where the length of the queue is read: a preset, a server, and `queue=` if it has another name there.",
    otherwise="none",
    examples=("rq+redis://127.0.0.1:6379/0?queue=emails",),
    pattern=r"[a-z][a-z0-9+.-]*:(.|\n)+",
)
SOURCE_EVERY = _seconds(
    "every",
    units.every,
    "How often it is looked at, at least 1s.",
    "1s while there is work or no worker, else up to 5s",
    "10s",
)
SOURCE = Section(
    "source", (SOURCE_URL, SOURCE_EVERY), "Where the length of the queue is read, to scale by it.", short="url"
)

WAIT = _seconds("wait", units.wait, "The objective: 95% of the jobs begin within so long.", "30s with a source", "30s")
BACKLOG = Value(
    "backlog",
    units.amount,
    "a number of jobs",
    "expected a number of more than 0",
    "The objective: so many jobs for each worker, those under way included.",
    otherwise="none",
    examples=("10",),
    pattern=_AMOUNT,
    numeric=True,
)
UTILIZATION = Value(
    "utilization",
    units.utilization,
    "a share of the time",
    "expected a share, as in 70%",
    "The objective: workers are at a job for so much of their time. Workers have to report their jobs.",
    otherwise="none",
    examples=("70%",),
    pattern=r"[0-9]{1,2}%",
)
METRIC = Value(
    "metric",
    units.amount,
    "a number",
    "expected a number of more than 0",
    "The objective: one worker for so much of what the source says, whatever that counts.",
    otherwise="none",
    examples=("250",),
    pattern=_AMOUNT,
    numeric=True,
)
STYLE = Value(
    "style",
    units.style,
    "a style",
    "expected lazy, balanced or eager",
    "How readily idle workers are kept: lazy costs least, eager is soonest at the next job.",
    "balanced",
    examples=("eager",),
    choices=tuple(Style),
)
JOB_TIME = _seconds(
    "job_time", units.job_time, "What a job takes, until workers have shown it.", "nobody knows at first", "2s"
)
FALLBACK = Value(
    "fallback",
    units.fallback,
    "hold, or a number of workers",
    "expected hold, or a whole number",
    "How many workers there are once the source has said nothing for five minutes; `hold` leaves them as they were.",
    units.HOLD,
    examples=("4",),
    pattern=r"([0-9]+|hold)",
    numeric=True,
)
SCALE = Section(
    "scale",
    (WAIT, BACKLOG, UTILIZATION, METRIC, STYLE, JOB_TIME, FALLBACK),
    "What the number of workers is to achieve; of several objectives the one that wants most decides.",
)

CRON = Value(
    "cron",
    units.cron,
    "a time of cron",
    'expected five fields in quotes, as in "0 8 * * 1-5"',
    "When it begins: minute, hour, day of the month, month, day of the week. In quotes.",
    otherwise="must be there",
    examples=("0 8 * * 1-5",),
    pattern=r"\s*(@[a-z]+|[0-9A-Za-z*/,?#-]+(\s+[0-9A-Za-z*/,?#-]+){4})\s*",
)
FOR = _seconds("for", units.lasts, "How long it lasts, at least 1m.", "must be there", "10h")
TIMEZONE = Value(
    "timezone",
    units.timezone,
    "a time zone",
    "expected a name as Europe/Berlin, or UTC",
    "Whose time that is.",
    otherwise="that of the machine",
    examples=("Europe/Berlin",),
    pattern=r"[A-Za-z0-9_+/-]+",
)
LEAST = Value(
    "min", units.bound, "a number of workers", _WORKERS, "At least so many workers.", otherwise="no matter",
    examples=("6",), pattern="[0-9]+", numeric=True,
)  # fmt: skip
MOST = Value(
    "max", units.bound, "a number of workers", _WORKERS, "At most so many workers.", otherwise="no matter",
    examples=("2",), pattern="[0-9]+", numeric=True,
)  # fmt: skip
SCHEDULE = Sections(
    "schedule",
    Section("schedule", (CRON, FOR, TIMEZONE, LEAST, MOST), "One period."),
    "Times in which there are at least, or at most, so many workers.",
)

PRIORITY = Value(
    "priority",
    units.priority,
    "a priority",
    "expected a whole number from -1000 to 1000",
    "Queues with a higher one get what they want first.",
    "0",
    examples=("10",),
    pattern="-?[0-9]+",
    numeric=True,
)
WEIGHT = Value(
    "weight",
    units.amount,
    "a number",
    "expected a number of more than 0",
    "How much of what is left it gets, beside others of its priority.",
    "1",
    examples=("3",),
    pattern=_AMOUNT,
    numeric=True,
)
SHARE_MEMORY = Value(
    "memory", size, "a size", _SIZE_RULE, "What one worker takes of the memory budget.",
    otherwise="what they have taken, at most `limits.memory`", examples=("300MiB",), pattern=SIZE,
)  # fmt: skip
SHARE_CPUS = Value(
    "cpus", units.amount, "a number of cores", "expected a number of cores, as in 0.5",
    "What one worker takes of the budget of cores.", otherwise="what they have taken", examples=("0.5",),
    pattern=_AMOUNT, numeric=True,
)  # fmt: skip
SHARE = Section(
    "share",
    (PRIORITY, WEIGHT, SHARE_MEMORY, SHARE_CPUS),
    "What the queue may claim where the machine cannot give all what they want.",
)

BUDGET_CPUS = Value(
    "cpus", units.budget_cpus, "a number of cores", "expected a number of cores, as in 12",
    "How many cores workers that scale may take together.", otherwise="no bound", examples=("12",), pattern=_AMOUNT,
    numeric=True,
)  # fmt: skip
BUDGET_MEMORY = Value(
    "memory", size, "a size", "expected a number with a unit, as in 24GiB",
    "How much memory workers that scale may take together.", otherwise="no bound", examples=("24GiB",), pattern=SIZE,
)  # fmt: skip


def _share_of(name: str, about: str, default: str) -> Value[float]:
    return Value(
        name, units.percent, "a share", "expected a share, as in 40%", about, default, "", (default,), (), _PERCENT
    )


GUARD_CPU = _share_of("cpu", "Nothing is started while processes wait for a processor for more of the time.", "40%")
GUARD_MEMORY = _share_of(
    "memory",
    "Nothing is started while less of the memory is available; below half of it workers are taken away.",
    "10%",
)
GUARD_STALLED = _share_of(
    "stalled", "Workers are taken away while all processes wait for memory for more of the time.", "5%"
)
GUARD_WORD = Value(
    "guard",
    units.guard_word,
    "on or off",
    "expected on or off, or keys below it: cpu, memory, stalled",
    "Whether scaling heeds the pressure that the machine is under.",
    units.OFF,
    examples=(units.ON,),
    choices=(units.ON, units.OFF),
)
GUARD = Section(
    "guard",
    (GUARD_CPU, GUARD_MEMORY, GUARD_STALLED),
    "When the machine is under pressure, and scaling starts nothing, or takes workers away.",
    word=GUARD_WORD,
)
