"""What a manifest says of scaling, as people write it: a part of `procq.plan.values`. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from procq.model import Queue
from procq.plan.wording import duration, size
from procq.rules import Claim, Period, ScaleRule, Source
from procq.scaling.place import BadPlace, parse

_RULE, _CLAIM = ScaleRule(), Claim()


def scaling_values(queue: Queue) -> Iterator[tuple[str, str]]:
    """Each key with its value, as far as there are any."""
    if queue.source is not None:
        every = "" if queue.source.every is None else f" every {duration(queue.source.every)}"
        yield "source", f"{shown(queue.source, queue.name)}{every}"
    if queue.scale is not None:
        yield from _rule(queue.scale)
    for number, period in enumerate(queue.schedule, 1):
        yield f"schedule.{number}", _period(period)
    yield from _claim(queue.claim)


def shown(source: Source, queue: str) -> str:
    """A source without what is secret in it."""
    try:
        return parse(source.url, queue).shown
    except BadPlace:
        # A package that brought its preset is gone: nobody knows what in it is a secret.
        return source.url.partition(":")[0]


def has_another_secret(before: Queue, after: Queue) -> bool:
    """Whether two sources differ in nothing that is shown."""
    one, other = before.source, after.source
    if one is None or other is None or one.url == other.url:
        return False
    return shown(one, before.name) == shown(other, after.name)


def _rule(rule: ScaleRule) -> Iterator[tuple[str, str]]:
    texts = {
        "wait": None if rule.wait is None else duration(rule.wait),
        "backlog": None if rule.backlog is None else f"{rule.backlog:g}",
        "utilization": None if rule.utilization is None else f"{rule.utilization:.0%}",
        "metric": None if rule.metric is None else f"{rule.metric:g}",
        "style": None if rule.style is _RULE.style else rule.style.value,
        "job_time": None if rule.job_time is None else duration(rule.job_time),
        "fallback": None if rule.fallback is None else str(rule.fallback),
    }
    yield from ((f"scale.{name}", text) for name, text in texts.items() if text is not None)


def _period(period: Period) -> str:
    bounds = [f"min {period.least}"] if period.least is not None else []
    bounds += [f"max {period.most}"] if period.most is not None else []
    return f"{period.cron} {period.timezone} for {duration(period.seconds)}: {', '.join(bounds)}"


def _claim(claim: Claim) -> Iterator[tuple[str, str]]:
    if claim.priority != _CLAIM.priority:
        yield "share.priority", str(claim.priority)
    if claim.weight != _CLAIM.weight:
        yield "share.weight", f"{claim.weight:g}"
    if claim.memory is not None:
        yield "share.memory", size(claim.memory)
    if claim.cpus is not None:
        yield "share.cpus", f"{claim.cpus:g}"
