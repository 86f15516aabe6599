"""What only shows when a queue is seen with its defaults, its neighbours and this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from procq.errors import did_you_mean, nearest
from procq.manifest import bounds, build, command, logpaths, nodes, order, scaling, schema, supervision
from procq.manifest.fields import Fields, Found
from procq.manifest.keys import List
from procq.manifest.nodes import Node, Scalar
from procq.manifest.people import People
from procq.manifest.source import Source
from procq.manifest.units import LIMITS, Refused

_FILE_ONLY = tuple(key for key in schema.LOGS.keys if key not in (schema.FILE, schema.OTLP))


@dataclass(frozen=True, slots=True)
class Written:
    """A queue as it stands in a file; `fields` are its keys with those of `defaults` below them."""

    source: Source
    name: Scalar
    node: Node
    fields: Fields


class Whole:
    """Checks a manifest as a whole, and notes every problem where it stands."""

    def __init__(self, root: Fields, queues: Sequence[Written], people: People, directory: str) -> None:
        self._root = root
        self._queues = queues
        self._people = people
        self._directory = directory

    def check(self) -> None:
        """Notes all problems that no value has by itself."""
        names = {queue.name.text for queue in self._queues}
        for queue in self._queues:
            self._check_name(queue, names)
            _check_command(queue)
            self._check_user(queue.fields)
            _check_bounds(queue.fields)
            _check_logs(queue)
            supervision.check(Found(queue.source, queue.name), queue.node, queue.fields)
            scaling.check(queue.fields)
        if not self._queues and self._root.found("include") is not None and self._root.found("queues") is None:
            self._nothing_included()
        self._check_order(names)
        self._check_budget()
        logpaths.check([(queue.name.text, queue.fields) for queue in self._queues], self._directory)

    def _nothing_included(self) -> None:
        found = self._root.found("include")
        assert found is not None
        found.problem("none of the included files has a queue", "add `queues:` here or in one of them")

    def _check_name(self, queue: Written, names: set[str]) -> None:
        owner, _, slot = queue.name.text.rpartition(".")
        if owner in names and slot.isdecimal():
            message = f'"{queue.name.text}" is also the name of worker {slot} of queue "{owner}"'
            Found(queue.source, queue.name).problem(message, f"give the queue another name, such as {owner}-{slot}")

    def _check_user(self, fields: Fields) -> None:
        user, group, groups = (fields.found(key) for key in ("user", "group", "groups"))
        if user is None:
            for alone in filter(None, (group, groups)):
                alone.problem("a group stands here without a user", "add `user: …`")
            return
        faults = 0
        if group is not None:
            with _noting(group) as outcome:
                self._people.gid(fields.value(schema.GROUP, ""))
            faults += outcome.failed
        for place, name in _items(fields, schema.GROUPS):
            with _noting(place) as outcome:
                self._people.gid(name)
            faults += outcome.failed
        if not faults:
            with _noting(user):
                build.user(fields, self._people)

    def _check_order(self, names: set[str]) -> None:
        """Unknown neighbours and rings. A queue that is named in `defaults` does not wait for itself."""
        after: dict[str, dict[str, Found]] = {}
        for queue in self._queues:
            places = after.setdefault(queue.name.text, {})
            for place, name in _items(queue.fields, schema.AFTER):
                if name not in names:
                    place.problem(f'there is no queue "{name}"', did_you_mean(name, names, "name one of this manifest"))
                elif name != queue.name.text:
                    places[name] = place
                elif _stands_in(queue, "after"):
                    place.problem(f'queue "{name}" cannot start after itself', "take it out")
        for ring in order.cycles({queue: list(places) for queue, places in after.items()}):
            message = f"queues wait for each other: {' → '.join(ring)}"
            after[ring[0]][ring[1]].problem(message, "take one of these out")

    def _check_budget(self) -> None:
        budget = self._root.section(schema.HOST).section(schema.BUDGET)
        found = budget.found("workers")
        if found is None:
            return
        try:
            most = budget.value(schema.BUDGET_WORKERS, 0)
            least = {q.name.text: q.fields.value(schema.WORKERS, (1, None))[0] for q in self._queues}
        except Refused:
            return
        total = sum(least.values())
        if total > most:
            largest = sorted(least, key=lambda name: -least[name])[:3]
            shown = ", ".join(f"{name} {least[name]}" for name in largest)
            found.problem(
                f"the queues need {total} workers, and this machine has a budget of {most}",
                f"raise it, or lower `workers` of queues; the largest: {shown}",
            )


class _Outcome:
    failed = False


@contextmanager
def _noting(found: Found, shows_value: bool = True) -> Iterator[_Outcome]:
    """Notes what is refused. Without a message it is a value that was noted when it was read."""
    outcome = _Outcome()
    try:
        yield outcome
    except Refused as refused:
        outcome.failed = True
        if refused.message is not None:
            found.problem(refused.message, refused.expected or "", shows_value=shows_value)


def _items(fields: Fields, key: List) -> Iterator[tuple[Found, str]]:
    """The values of a list that can be read, with their places."""
    try:
        yield from fields.items(key)
    except Refused:
        return


def _check_command(queue: Written) -> None:
    name, found = queue.name, queue.fields.found("command")
    if found is None:
        if not _is_reported(queue.node):
            message = f'queue "{name.text}" has no command'
            Found(queue.source, name).problem(message, "add a line `command: …` below it")
        return
    if isinstance(found.node, nodes.Faulty) or (isinstance(found.node, Scalar) and not found.node.text.strip()):
        return
    try:
        shell = queue.fields.value(schema.SHELL, False)
    except Refused:
        return
    with _noting(found, shows_value=False):
        command.argv(found.node, shell, queue.fields.environ)


def _check_bounds(fields: Fields) -> None:
    nice = fields.found("nice")
    if nice is not None:
        with _noting(nice):
            bounds.check_nice(fields.value(schema.NICE, 0))
    try:
        limits = {name: (place, text) for place, name, text in fields.entries(schema.RLIMITS)}
    except Refused:
        return
    for name, (place, text) in limits.items():
        with _noting(place):
            if name in LIMITS:
                bounds.check_limit(name, text, schema.LIMIT.read(text))


def _check_logs(queue: Written) -> None:
    """A file that is described and not named is a mistake, unless `defaults` describe those of other queues."""
    logs = queue.fields.section(schema.LOGS)
    total = logs.found("total")
    if total is not None:
        with _noting(total):
            bounds.check_total(logs.value(schema.TOTAL, 0), logs.optional(schema.ROTATE))
    own = queue.node.get("logs") if isinstance(queue.node, nodes.Mapping) else None
    if own is None or not isinstance(own[1], nodes.Mapping) or logs.found("file") is not None:
        return
    for key, _ in own[1].entries:
        if key.text in (each.name for each in _FILE_ONLY):
            message = f"logs.{key.text} is about a file, and this queue has none"
            Found(queue.source, key).problem(message, "add `file: …` above it")


def _stands_in(queue: Written, key: str) -> bool:
    return isinstance(queue.node, nodes.Mapping) and queue.node.get(key) is not None


def _is_reported(queue: Node) -> bool:
    """Whether another problem already says where the command of a queue should be."""
    if not isinstance(queue, nodes.Mapping):
        return True
    known = [key.name for key in schema.QUEUE.keys]
    return any(key.text not in known and nearest(key.text, known) == "command" for key, _ in queue.entries)
