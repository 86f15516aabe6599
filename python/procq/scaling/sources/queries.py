"""What databases are asked, and what their rows mean. No I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.jobs import number_in, reading_in
from procq.scaling.sources.keys_python import huey_time
from procq.scaling.sources.port import Kind, SourceError

if TYPE_CHECKING:
    from procq.scaling.place import Place

_NAMES: Final = ("waiting", "running", "delayed", "oldest")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")


@dataclass(frozen=True, slots=True)
class Question:
    """A query and its values; without any its text is taken as it is."""

    text: str
    values: Mapping[str, Any] | None = None


def postgres(place: Place, within: float) -> Question:
    """What PostgreSQL is asked."""
    match place.preset:
        case "procrastinate":
            schema = place.options.get("schema")
            jobs = f"{_quoted(schema, place)}." if schema else ""
            values = {"queue": place.queue, "within": within}
            return Question(_PROCRASTINATE.replace("procrastinate_", f"{jobs}procrastinate_"), values)
        case "laravel+db":
            text = re.sub(r":([a-z_]+)", r"%(\1)s", _laravel(place))
            return Question(text, _laravel_values(place, within))
        case _:
            return Question(place.options["query"])


def sqlite(place: Place, within: float) -> Question:
    """What SQLite is asked."""
    match place.preset:
        case "huey+sqlite":
            now = time.time()
            times = {name: huey_time(at, place.options) for name, at in (("now", now), ("due", now + within))}
            return Question(_HUEY, {"queue": place.queue, **times})
        case "laravel+db":
            return Question(_laravel(place), _laravel_values(place, within))
        case _:
            return Question(place.options["query"])


def reading(rows: Sequence[Mapping[str, Any]], place: Place) -> Reading | SourceError:
    """What the rows of an answer say: there has to be one, with numbers."""
    if len(rows) != 1:
        how_many = "more than one row" if rows else "no row"
        return SourceError(Kind.GARBAGE, f"{place.shown}: the query has found {how_many}, where one belongs")
    names = [name.lower() for name in rows[0]]
    values = [float(value) if isinstance(value, Decimal) else value for value in rows[0].values()]
    named = dict(zip(names, values, strict=True))
    if "waiting" not in named:
        named = dict(zip(_NAMES, values, strict=False))
    try:
        found = reading_in(named, place.shown)
    except SourceError as error:
        return error
    if "query" in place.options:
        return found
    # What is not due yet has been waiting for less than nothing.
    oldest = None if found.oldest is None or found.oldest < 0 else found.oldest
    return replace(found, oldest=oldest, soon=number_in(named.get("soon")) or 0.0)


_PROCRASTINATE: Final = """
WITH live AS (
    SELECT id, status, scheduled_at, 1 AS turn FROM procrastinate_jobs
    WHERE lock IS NULL AND queue_name = %(queue)s AND status IN ('todo', 'doing')
    UNION ALL
    SELECT id, status, scheduled_at, turn FROM (
        SELECT id, status, scheduled_at, queue_name, row_number() OVER (
            PARTITION BY lock ORDER BY (status = 'doing') DESC, priority DESC, id
        ) AS turn FROM procrastinate_jobs WHERE lock IS NOT NULL AND status IN ('todo', 'doing')
    ) AS locked WHERE queue_name = %(queue)s
), found AS (
    SELECT
        count(*) FILTER (WHERE status = 'doing') AS running,
        count(*) FILTER (WHERE status = 'todo' AND turn = 1 AND due) AS waiting,
        count(*) FILTER (WHERE status = 'todo' AND NOT due) AS delayed,
        count(*) FILTER (WHERE status = 'todo' AND turn = 1 AND due AND scheduled_at > now()) AS soon,
        min(scheduled_at) FILTER (WHERE status = 'todo' AND turn = 1 AND due) AS scheduled,
        min(id) FILTER (WHERE status = 'todo' AND turn = 1 AND scheduled_at IS NULL) AS first
    FROM (
        SELECT *, coalesce(scheduled_at <= now() + make_interval(secs => %(within)s), true) AS due FROM live
    ) AS each
)
SELECT waiting, running, delayed, soon, extract(epoch FROM now() - least(scheduled, (
    SELECT min(at) FROM procrastinate_events WHERE job_id = first AND type = 'deferred'
))) AS oldest FROM found
"""
"""Of the jobs with the same lock only the first may begin. Jobs that are tried again have a time of their own."""

_HUEY: Final = """
SELECT (SELECT count(*) FROM task WHERE queue = :queue)
    + (SELECT count(*) FROM schedule WHERE queue = :queue AND timestamp <= :due) AS waiting,
    NULL AS running,
    (SELECT count(*) FROM schedule WHERE queue = :queue AND timestamp > :due) AS delayed,
    (SELECT count(*) FROM schedule WHERE queue = :queue AND timestamp > :now AND timestamp <= :due) AS soon
"""

_LARAVEL: Final = """
SELECT
    coalesce(sum(CASE WHEN {waiting} THEN 1 ELSE 0 END), 0) AS waiting,
    coalesce(sum(CASE WHEN reserved_at > :given_up THEN 1 ELSE 0 END), 0) AS running,
    coalesce(sum(CASE WHEN reserved_at IS NULL AND available_at > :due THEN 1 ELSE 0 END), 0) AS delayed,
    coalesce(sum(CASE WHEN {soon} THEN 1 ELSE 0 END), 0) AS soon,
    :now - min(CASE WHEN {waiting} THEN available_at END) AS oldest
FROM {table} WHERE queue = :queue
"""
_LARAVEL_WAITING: Final = "(reserved_at IS NULL AND available_at <= :due) OR reserved_at <= :given_up"
_LARAVEL_SOON: Final = "reserved_at IS NULL AND available_at > :now AND available_at <= :due"
_RETRY_AFTER: Final = 90


def _laravel(place: Place) -> str:
    table = _quoted(place.options.get("table", "jobs"), place)
    return _LARAVEL.format(waiting=_LARAVEL_WAITING, soon=_LARAVEL_SOON, table=table)


def _laravel_values(place: Place, within: float) -> dict[str, Any]:
    # Workers compare with the time of their machine, not with that of the database.
    now = int(time.time())
    given_up = now - int(place.options.get("retry_after", _RETRY_AFTER))
    return {"queue": place.queue, "now": now, "due": now + int(within), "given_up": given_up}


def _quoted(name: str, place: Place) -> str:
    """The name of a table or schema, which is put into a query as it is."""
    if not all(_NAME.fullmatch(part) for part in name.split(".")):
        raise SourceError(Kind.OTHER, f'{place.shown}: "{name}" cannot be the name of a table')
    return ".".join(f'"{part}"' for part in name.split("."))
