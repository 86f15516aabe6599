"""From checked nodes to the model: defaults merged, variables expanded, paths absolute, users looked up."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from procq.manifest import command, order, scaling, scaling_schema, schema, supervision, supervision_schema
from procq.manifest.fields import Fields
from procq.manifest.nodes import Scalar
from procq.manifest.people import People
from procq.model import (
    Backoff,
    Limit,
    LogPolicy,
    Manifest,
    Queue,
    RestartPolicy,
    StartRate,
    StopPolicy,
    UpdatePolicy,
    User,
)

_STOP, _RESTART, _BACKOFF, _LOGS, _UPDATE = StopPolicy(), RestartPolicy(), Backoff(), LogPolicy(), UpdatePolicy()
_STARTS = StartRate()
_NO_LIMITS: Mapping[str, Limit] = MappingProxyType({})


class Builder:
    """Builds a manifest from fields without a problem.

    `directory` is absolute. `variables` are those of the files at the top, `files` those of the files that queues name.
    """

    def __init__(
        self,
        root: Fields,
        directory: str,
        people: People,
        variables: Mapping[str, str],
        files: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._root = root
        self._directory = directory
        self._people = people
        self._variables = variables
        self._files = files

    def build(self, queues: Mapping[str, Fields], files: Sequence[str] = ()) -> Manifest:
        """The manifest with `queues` by name."""
        shared = {**self._variables, **self._root.table(schema.ENV)}
        after = {name: _after(name, fields) for name, fields in queues.items()}
        waves = order.waves(after)
        built = {name: self._queue(name, fields, shared, after[name], waves[name]) for name, fields in queues.items()}
        host = self._root.section(schema.HOST)
        return Manifest(
            self._root.value(schema.NAME, default_name(self._directory)),
            MappingProxyType(built),
            self._directory,
            tuple(files),
            host.section(schema.BUDGET).optional(schema.BUDGET_WORKERS),
            host.value(supervision_schema.STARTS, _STARTS),
            host.section(schema.BUDGET).optional(scaling_schema.BUDGET_CPUS),
            host.section(schema.BUDGET).optional(scaling_schema.BUDGET_MEMORY),
            scaling.guard(host),
        )

    def _queue(self, name: str, fields: Fields, shared: Mapping[str, str], after: tuple[str, ...], wave: int) -> Queue:
        node = fields.node("command")
        vector = command.argv(node, fields.value(schema.SHELL, False), fields.environ)
        workers, most = fields.value(schema.WORKERS, (1, None))
        return Queue(
            name=name,
            command=node.text.strip() if isinstance(node, Scalar) else command.join(vector),
            argv=vector,
            workers=workers,
            most=most,
            directory=os.path.normpath(os.path.join(self._directory, fields.value(schema.DIRECTORY, ""))),
            env=MappingProxyType({**shared, **self._env(fields)}),
            user=user(fields, self._people),
            umask=fields.optional(schema.UMASK),
            nice=fields.optional(schema.NICE),
            rlimits=_limits(fields),
            tty=fields.value(schema.TTY, False),
            after=after,
            wave=wave,
            stop=_stop(fields),
            restart=_restart(fields),
            update=_update(fields),
            logs=self._logs(fields),
            ready=supervision.ready(fields),
            health=supervision.health(fields),
            watchdog=fields.value(supervision_schema.WATCHDOG, None),
            limits=supervision.limits(fields),
            source=scaling.source(fields, self._directory),
            scale=scaling.rule(fields),
            schedule=scaling.schedule(fields),
            claim=scaling.claim(fields),
        )

    def _env(self, fields: Fields) -> dict[str, str]:
        """Of `defaults`, then of the queue: in each the files first, and `env` over them."""
        if fields.found("env_file") is None:
            return fields.table(schema.ENV)
        found: dict[str, str] = {}
        for layer in fields.apart():
            for _, path in layer.items(schema.ENV_FILE):
                found |= self._files[path]
            found |= layer.table(schema.ENV)
        return found

    def _logs(self, fields: Fields) -> LogPolicy:
        if fields.found("logs") is None:
            return _LOGS
        logs = fields.section(schema.LOGS)
        file = logs.optional(schema.FILE)
        # Braces in the directory are not placeholders.
        home = self._directory.replace("{", "{{")
        return LogPolicy(
            os.path.normpath(os.path.join(home, file)) if file else None,
            logs.optional(schema.ROTATE),
            logs.value(schema.KEEP, _LOGS.keep),
            logs.value(schema.FORMAT, _LOGS.format),
            logs.value(schema.FULL, _LOGS.full),
            logs.optional(schema.ROTATE_EVERY),
            logs.value(schema.COMPRESS, _LOGS.compress),
            logs.optional(schema.TOTAL),
            logs.value(schema.OTLP, _LOGS.otlp),
        )


def user(fields: Fields, people: People) -> User | None:
    """Who runs the workers, None for who runs procq. Raises Refused."""
    name = fields.optional(schema.USER)
    if name is None:
        return None
    groups = [each for _, each in fields.items(schema.GROUPS)] if fields.found("groups") else None
    return people.user(name, fields.optional(schema.GROUP), groups)


def default_name(directory: str) -> str:
    """The name of a project that has none: that of its directory, without what a name cannot hold."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(directory)).strip("._-")[:64]
    return cleaned or "procq"


def _after(name: str, fields: Fields) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for _, each in fields.items(schema.AFTER) if each != name))


def _limits(fields: Fields) -> Mapping[str, Limit]:
    if fields.found("rlimits") is None:
        return _NO_LIMITS
    return MappingProxyType({name: schema.LIMIT.read(text) for name, text in fields.table(schema.RLIMITS).items()})


def _stop(fields: Fields) -> StopPolicy:
    if fields.found("stop") is None:
        return _STOP
    stop = fields.section(schema.STOP)
    return StopPolicy(
        stop.value(schema.SIGNAL, _STOP.signal), stop.value(schema.GRACE, _STOP.grace), stop.value(schema.TO, _STOP.to)
    )


def _restart(fields: Fields) -> RestartPolicy:
    if fields.found("restart") is None:
        return _RESTART
    restart = fields.section(schema.RESTART)
    return RestartPolicy(
        restart.value(schema.POLICY, _RESTART.when),
        restart.value(schema.BACKOFF, _BACKOFF),
        restart.optional(schema.GIVE_UP),
    )


def _update(fields: Fields) -> UpdatePolicy:
    if fields.found("update") is None:
        return _UPDATE
    update = fields.section(schema.UPDATE)
    return UpdatePolicy(
        update.value(schema.SURGE, _UPDATE.surge),
        update.value(schema.BATCH, _UPDATE.batch),
        update.value(schema.PAUSE, _UPDATE.pause),
    )
