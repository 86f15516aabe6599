"""Source, scaling, schedule and share of a queue: from its fields to the model; and what no key shows by itself."""

from __future__ import annotations

from collections.abc import Iterator

from procq.manifest import scaling_schema as keys
from procq.manifest import scaling_units, schema
from procq.manifest.fields import Fields, Found
from procq.manifest.units import Refused
from procq.rules import Claim, Guard, Period, ScaleRule, Source

_RULE, _CLAIM, _GUARD = ScaleRule(), Claim(), Guard()
_OBJECTIVES = (keys.WAIT, keys.BACKLOG, keys.UTILIZATION, keys.METRIC)
_NEED_SOURCE = (keys.WAIT, keys.BACKLOG, keys.METRIC)


def source(fields: Fields, directory: str) -> Source | None:
    """Where the length of a queue is read; paths are relative to the manifest's `directory`. Raises Refused."""
    if fields.found("source") is None:
        return None
    section = fields.section(keys.SOURCE)
    url = section.optional(keys.SOURCE_URL)
    return None if url is None else Source(scaling_units.absolute(url, directory), section.optional(keys.SOURCE_EVERY))


def rule(fields: Fields) -> ScaleRule | None:
    """What its number of workers is to achieve. Raises Refused."""
    if fields.found("scale") is None:
        return None
    section = fields.section(keys.SCALE)
    return ScaleRule(
        wait=section.optional(keys.WAIT),
        backlog=section.optional(keys.BACKLOG),
        utilization=section.optional(keys.UTILIZATION),
        metric=section.optional(keys.METRIC),
        style=section.value(keys.STYLE, _RULE.style),
        job_time=section.optional(keys.JOB_TIME),
        fallback=section.value(keys.FALLBACK, None),
    )


def schedule(fields: Fields) -> tuple[Period, ...]:
    """When there are at least, or at most, so many. Raises Refused."""
    periods = fields.sections(keys.SCHEDULE)
    if not periods:
        return ()
    local = scaling_units.local_timezone(fields.environ)
    return tuple(
        Period(
            each.value(keys.CRON, ""),
            each.value(keys.FOR, 0.0),
            each.value(keys.TIMEZONE, local),
            each.optional(keys.LEAST),
            each.optional(keys.MOST),
        )
        for each in periods
    )


def claim(fields: Fields) -> Claim:
    """What it may claim where there is not enough for all. Raises Refused."""
    if fields.found("share") is None:
        return _CLAIM
    section = fields.section(keys.SHARE)
    return Claim(
        section.value(keys.PRIORITY, _CLAIM.priority),
        section.value(keys.WEIGHT, _CLAIM.weight),
        section.optional(keys.SHARE_MEMORY),
        section.optional(keys.SHARE_CPUS),
    )


def guard(host: Fields) -> Guard | None:
    """When the machine counts as under pressure; None: nobody looks. Raises Refused."""
    if host.found("guard") is None:
        return None
    section = host.section(keys.GUARD)
    if section.found(keys.GUARD_WORD.name) is not None:
        return section.value(keys.GUARD_WORD, None)
    return Guard(
        section.value(keys.GUARD_CPU, _GUARD.cpu),
        section.value(keys.GUARD_MEMORY, _GUARD.memory),
        section.value(keys.GUARD_STALLED, _GUARD.stalled),
    )


def check(fields: Fields) -> None:
    """Notes the problems that no value has by itself."""
    try:
        least, most = fields.value(schema.WORKERS, (1, None))
    except Refused:
        return
    for name in ("source", "scale", "schedule"):
        found = fields.found(name)
        if found is not None and most is None:
            message = f"{name} stands here, and the number of workers is fixed at {least}"
            found.problem(message, f"write a range in which it may move, as in `workers: {min(least, 1)}..{least + 4}`")
            return
    _check_objectives(fields, least)
    for period in fields.sections(keys.SCHEDULE):
        _check_period(period, most)


def _check_objectives(fields: Fields, least: int) -> None:
    section = fields.section(keys.SCALE)
    if fields.found("source") is not None:
        return
    for key in _NEED_SOURCE:
        found = section.found(key.name)
        if found is not None:
            found.problem(f"scale.{key.name} needs the length of the queue", "add `source: …` to the queue")
    busy = section.found(keys.UTILIZATION.name)
    if busy is not None and not least:
        message = "without workers nobody is busy, and so none would ever be started"
        busy.problem(message, "add `source: …` to the queue, or let `workers` begin with 1")
    scale = fields.found("scale")
    if scale is not None and not any(section.found(key.name) is not None for key in _OBJECTIVES):
        scale.problem("nothing says by what this queue is scaled", "add `source: …` to the queue")


def _check_period(period: Fields, most: int | None) -> None:
    begin = next(_places(period), None)
    for key in (keys.CRON, keys.FOR):
        if begin is not None and period.found(key.name) is None:
            example = f'"{key.examples[0]}"' if key is keys.CRON else key.examples[0]
            begin.problem(f"this period has no `{key.name}`", f"add a line `{key.name}: {example}`")
    least, ceiling = period.found("min"), period.found("max")
    if begin is not None and least is None and ceiling is None:
        begin.problem("this period says nothing about workers", "add `min: …`, `max: …`, or both")
    try:
        floor, top = period.optional(keys.LEAST), period.optional(keys.MOST)
    except Refused:
        return
    if floor is not None and most is not None and floor > most and least is not None:
        least.problem(f"at least {floor}, and `workers` allows {most} at most", "raise the range, or lower this")
    elif floor is not None and top is not None and floor > top and ceiling is not None:
        ceiling.problem(f"at most {top}, and `min` of the same period says {floor}", "make `max` the larger one")


def _places(period: Fields) -> Iterator[Found]:
    for key in (keys.CRON, keys.FOR, keys.TIMEZONE, keys.LEAST, keys.MOST):
        found = period.found(key.name)
        if found is not None:
            yield found
