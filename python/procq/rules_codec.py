"""What a manifest says of scaling, as plain data and back: a part of `procq.intent_codec`.

None of it was there from the beginning: what is missing was not set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procq.plain import Plain, listed, mapping, maybe, number, text, whole
from procq.rules import Claim, Guard, Period, ScaleRule, Source, Style

if TYPE_CHECKING:
    from procq.model import Queue


def encode_rules(queue: Queue) -> Plain:
    """Source, rule, schedule and claim of a queue, as far as there are any."""
    plain: Plain = {}
    if queue.source is not None:
        plain["source"] = [queue.source.url, queue.source.every]
    if queue.scale is not None:
        plain["scale"] = _rule(queue.scale)
    if queue.schedule:
        plain["schedule"] = [[p.cron, p.seconds, p.timezone, p.least, p.most] for p in queue.schedule]
    if queue.claim != Claim():
        claim = queue.claim
        plain["claim"] = [claim.priority, claim.weight, claim.memory, claim.cpus]
    return plain


def read_rules(item: Plain) -> dict[str, Any]:
    """The fields of a `Queue` that they are. Raises TypeError, ValueError and KeyError."""
    source, rule, claim = item.get("source"), item.get("scale"), item.get("claim")
    return {
        "source": None if source is None else _read_source(listed(source)),
        "scale": None if rule is None else _read_rule(mapping(rule)),
        "schedule": tuple(_read_period(listed(period)) for period in listed(item.get("schedule", []))),
        "claim": Claim() if claim is None else _read_claim(listed(claim)),
    }


def _read_source(pair: list[Any]) -> Source:
    url, every = pair
    return Source(text(url), maybe(number, every))


def _rule(rule: ScaleRule) -> Plain:
    return {
        "wait": rule.wait,
        "backlog": rule.backlog,
        "utilization": rule.utilization,
        "metric": rule.metric,
        "style": rule.style.value,
        "job_time": rule.job_time,
        "fallback": rule.fallback,
    }


def _read_rule(item: Plain) -> ScaleRule:
    return ScaleRule(
        wait=maybe(number, item.get("wait")),
        backlog=maybe(number, item.get("backlog")),
        utilization=maybe(number, item.get("utilization")),
        metric=maybe(number, item.get("metric")),
        style=Style(item["style"]),
        job_time=maybe(number, item.get("job_time")),
        fallback=maybe(whole, item.get("fallback")),
    )


def _read_period(item: list[Any]) -> Period:
    cron, seconds, timezone, least, most = item
    return Period(text(cron), number(seconds), text(timezone), maybe(whole, least), maybe(whole, most))


def _read_claim(item: list[Any]) -> Claim:
    priority, weight, memory, cpus = item
    return Claim(whole(priority), number(weight), maybe(whole, memory), maybe(number, cpus))


def encode_guard(guard: Guard | None) -> list[float] | None:
    """When the machine counts as under pressure."""
    return None if guard is None else [guard.cpu, guard.memory, guard.stalled]


def read_guard(item: object) -> Guard | None:
    """The inverse. Raises TypeError and ValueError."""
    if item is None:
        return None
    cpu, memory, stalled = listed(item)
    return Guard(number(cpu), number(memory), number(stalled))
