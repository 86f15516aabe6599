"""Readiness, health and limits of a queue: from its fields to the model, and what shows when keys are seen together.

Under `ready` and `health` one key says which way it is done. What a queue says takes the place of what `defaults` say.
"""

from __future__ import annotations

from collections.abc import Sequence

from procq.manifest import command, schema, supervision_units
from procq.manifest import supervision_schema as keys
from procq.manifest.fields import Fields, Found
from procq.manifest.keys import Command, Section, Value
from procq.manifest.nodes import Mapping, Node, Scalar
from procq.manifest.units import Refused
from procq.model import (
    After,
    CommandCheck,
    Health,
    HealthCheck,
    HttpCheck,
    Limits,
    LogLine,
    Notify,
    Readiness,
    ReadyCheck,
    TcpCheck,
    WorkerId,
    filled_in,
)

_READY, _LIMITS = Readiness(), Limits()
_HEALTH = Health(TcpCheck(1))
NEEDS_NO_SHELL = "write it as a list: /bin/sh, -c, and the text"

Kind = Value[object] | Command


def ready(fields: Fields) -> Readiness:
    """When workers of a queue count as ready. Raises Refused."""
    if fields.found("ready") is None:
        return _READY
    section = fields.section(keys.READY)
    return Readiness(_ready_check(section), section.value(keys.READY_TIMEOUT, _READY.timeout))


def _ready_check(section: Fields) -> ReadyCheck:
    match _kind(section, keys.READY, keys.READY_KINDS):
        case keys.READY_LOG:
            return LogLine(section.value(keys.READY_LOG, ""))
        case keys.READY_PORT:
            return TcpCheck(section.value(keys.READY_PORT, 0))
        case keys.READY_HTTP:
            return HttpCheck(section.value(keys.READY_HTTP, ""))
        case keys.READY_DELAY:
            return After(section.value(keys.READY_DELAY, 0.0))
        case keys.READY_NOTIFY:
            return Notify()
        case keys.READY_WORD:
            return section.value(keys.READY_WORD, _READY.check)
        case _:
            return _READY.check


def health(fields: Fields) -> Health | None:
    """What ready workers of a queue are asked. Raises Refused."""
    if fields.found("health") is None:
        return None
    section = fields.section(keys.HEALTH)
    check = _health_check(section)
    if check is None:
        return None
    return Health(
        check,
        section.value(keys.HEALTH_EVERY, _HEALTH.every),
        section.value(keys.HEALTH_TIMEOUT, _HEALTH.timeout),
        section.value(keys.HEALTH_FAILURES, _HEALTH.failures),
    )


def _health_check(section: Fields) -> HealthCheck | None:
    match _kind(section, keys.HEALTH, keys.HEALTH_KINDS):
        case keys.HEALTH_HTTP:
            return HttpCheck(section.value(keys.HEALTH_HTTP, ""))
        case keys.HEALTH_TCP:
            return TcpCheck(section.value(keys.HEALTH_TCP, 0))
        case keys.HEALTH_COMMAND:
            node = section.node("command")
            vector = _argv(section)
            return CommandCheck(node.text.strip() if isinstance(node, Scalar) else command.join(vector), vector)
        case _:
            return None


def _argv(section: Fields) -> tuple[str, ...]:
    return command.argv(section.node("command"), False, section.environ, NEEDS_NO_SHELL)


def limits(fields: Fields) -> Limits:
    """What workers of a queue may use. Raises Refused."""
    if fields.found("limits") is None:
        return _LIMITS
    section = fields.section(keys.LIMITS)
    return Limits(
        section.value(keys.MEMORY, None),
        section.value(keys.CPU, None),
        section.value(keys.PIDS, None),
        section.value(keys.JOBS, None),
        section.value(keys.AGE, None),
        section.value(keys.JOB_TIMEOUT, None),
    )


def check(name: Found, queue: Node, fields: Fields) -> None:
    """Notes the problems of a queue that no value has by itself. `queue` is what stands under its `name`."""
    for section, kinds in ((keys.READY, keys.READY_KINDS), (keys.HEALTH, keys.HEALTH_KINDS)):
        _check_one(fields.section(section), kinds, section.name)
    _check_asked(name, queue, fields)
    _check_command(fields.section(keys.HEALTH))
    _check_delay(fields.section(keys.READY))
    for section, key in ((keys.READY, keys.READY_HTTP), (keys.HEALTH, keys.HEALTH_HTTP)):
        _check_slots(fields, fields.section(section), key)


def _kind(section: Fields, key: Section, kinds: Sequence[Kind]) -> Kind | None:
    """The key that says which way it is done: of the strongest layer that has one."""
    assert key.word is not None
    for layer in reversed(section.apart()):
        for kind in (key.word, *kinds):
            if layer.found(kind.name) is not None:
                return kind
    return None


def _check_one(section: Fields, kinds: Sequence[Kind], path: str) -> None:
    for layer in section.apart():
        found = [(kind.name, place) for kind in kinds if (place := layer.found(kind.name)) is not None]
        for name, place in found[1:]:
            place.problem(f"{path}.{name} stands beside {path}.{found[0][0]}", "keep one of them", shows_value=False)


def _check_asked(name: Found, queue: Node, fields: Fields) -> None:
    """A queue that says how its workers are asked says what, unless `defaults` do."""
    own = queue.get("health") if isinstance(queue, Mapping) else None
    if own is None or not isinstance(own[1], Mapping) or not own[1].entries:
        return
    known = {key.name for key in keys.HEALTH.keys}
    if all(key.text in known for key, _ in own[1].entries) and (
        _kind(fields.section(keys.HEALTH), keys.HEALTH, keys.HEALTH_KINDS) is None
    ):
        Found(name.source, own[0]).problem("nothing says what workers are asked", "add one of http, tcp, command")


def _check_command(section: Fields) -> None:
    found = section.found("command")
    if found is None or (isinstance(found.node, Scalar) and not found.node.text.strip()):
        return
    try:
        _argv(section)
    except Refused as refused:
        found.problem(refused.message or "", refused.expected or "", shows_value=False)


def _check_delay(section: Fields) -> None:
    found = section.found("delay")
    if found is None or _kind(section, keys.READY, keys.READY_KINDS) is not keys.READY_DELAY:
        return
    try:
        delay = section.value(keys.READY_DELAY, 0.0)
        timeout = section.value(keys.READY_TIMEOUT, _READY.timeout)
    except Refused:
        return
    if delay >= timeout:
        message = f"a worker that is not ready after {timeout:g}s has failed, and this one never is before {delay:g}s"
        found.problem(message, "make `timeout` longer than `delay`")


def _check_slots(fields: Fields, section: Fields, key: Value[str]) -> None:
    """The number of a slot may make a port that there is not."""
    found = section.found(key.name)
    try:
        url, (least, most) = section.optional(key), fields.value(schema.WORKERS, (1, None))
    except Refused:
        return
    if found is None or url is None:
        return
    last = WorkerId("queue", max(1, least if most is None else most))
    filled = filled_in(url, last)
    try:
        supervision_units.check_url(filled)
    except Refused as refused:
        message = f'for worker {last.slot} this reads "{filled}": {refused.message}'
        found.problem(message, "choose a shorter number before {slot}")
