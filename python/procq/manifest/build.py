"""From checked nodes to the model: defaults merged, variables expanded, paths absolute."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from procq.errors import nearest
from procq.manifest import command, nodes, schema
from procq.manifest.expand import expand
from procq.manifest.keys import Section, Table, Value
from procq.manifest.nodes import Node, Scalar
from procq.manifest.source import Source
from procq.manifest.units import Refused
from procq.model import Backoff, LogPolicy, Manifest, Queue, RestartPolicy, RestartWhen, StopPolicy

T = TypeVar("T")


class Fields:
    """The keys below one section: those of the queue itself, and under them those of `defaults`."""

    def __init__(self, section: Section, environ: Mapping[str, str], *layers: Node | None) -> None:
        """`layers` from the weakest to the strongest."""
        self._section = section
        self._environ = environ
        self._layers = [_entries(layer, section) for layer in layers]

    def node(self, name: str) -> Node | None:
        """The strongest node of that name."""
        return next((layer[name] for layer in reversed(self._layers) if name in layer), None)

    def value(self, key: Value[T], default: T) -> T:
        """The value of a key. Raises Refused."""
        node = self.node(key.name)
        return key.read(expand(node.text, self._environ)) if isinstance(node, Scalar) else default

    def section(self, key: Section) -> Fields:
        """The keys below a key, merged one by one."""
        return Fields(key, self._environ, *(layer.get(key.name) for layer in self._layers))

    def table(self, key: Table) -> dict[str, str]:
        """The entries of a table of text, merged one by one."""
        found: dict[str, str] = {}
        for layer in self._layers:
            match layer.get(key.name):
                case nodes.Mapping(entries=entries):
                    found |= {k.text: expand(v.text, self._environ) for k, v in entries if isinstance(v, Scalar)}
        return found


class Builder:
    """Builds the queues of one manifest. `directory` is absolute."""

    def __init__(self, source: Source, root: nodes.Mapping, environ: Mapping[str, str], directory: str) -> None:
        self._source = source
        self._environ = environ
        self._directory = directory
        self._root = Fields(schema.ROOT, environ, root)
        self._defaults = self._root.node("defaults")
        queues = self._root.node("queues")
        self._queues = queues.entries if isinstance(queues, nodes.Mapping) else []

    def check(self) -> None:
        """Notes what only shows when a queue is seen with its defaults and its neighbours."""
        names = {name.text for name, _ in self._queues}
        for name, node in self._queues:
            self._check_command(name, node)
            owner, _, slot = name.text.rpartition(".")
            if owner in names and slot.isdecimal():
                message = f'"{name.text}" is also the name of worker {slot} of queue "{owner}"'
                self._at(name, message, f"give the queue another name, such as {owner}-{slot}")

    def build(self) -> Manifest:
        """The manifest. Only for nodes without a problem."""
        shared = self._root.table(schema.ENV)
        queues = {name.text: self._queue(name.text, self._fields(node), shared) for name, node in self._queues}
        name = self._root.value(schema.NAME, default_name(self._directory))
        return Manifest(name, MappingProxyType(queues), self._directory)

    def _fields(self, node: Node) -> Fields:
        return Fields(schema.QUEUE, self._environ, self._defaults, node)

    def _check_command(self, name: Scalar, queue: Node) -> None:
        fields = self._fields(queue)
        node = fields.node("command")
        if node is None:
            if not _is_reported(queue):
                self._at(name, f'queue "{name.text}" has no command', "add a line `command: …` below it")
            return
        if isinstance(node, Scalar) and not node.text.strip():
            return
        try:
            shell = fields.value(schema.SHELL, False)
        except Refused:
            return
        if isinstance(node, nodes.Faulty):
            return
        try:
            self._argv(node, shell)
        except Refused as refused:
            self._at(node, refused.message or "this is not a command", refused.expected or "")

    def _argv(self, node: Node | None, shell: bool) -> tuple[str, ...]:
        match node:
            case Scalar(text=text):
                argv = command.shell(text) if shell else command.words(text, self._environ)
            case nodes.Sequence(items=items) if not shell:
                argv = command.listed([i.text for i in items if isinstance(i, Scalar)], self._environ)
            case nodes.Sequence():
                raise Refused(
                    "a shell needs the command as text, not as a list", "take `shell: yes` out, or write text"
                )
            case _:
                return ()
        if not argv or not argv[0]:
            raise Refused("the command names no program", "write the program first, then its arguments")
        return argv

    def _queue(self, name: str, fields: Fields, shared: Mapping[str, str]) -> Queue:
        node = fields.node("command")
        stop, restart = fields.section(schema.STOP), fields.section(schema.RESTART)
        usual = StopPolicy()
        file = fields.section(schema.LOGS).value(schema.FILE, "")
        argv = self._argv(node, fields.value(schema.SHELL, False))
        return Queue(
            name=name,
            command=node.text.strip() if isinstance(node, Scalar) else command.join(argv),
            argv=argv,
            workers=fields.value(schema.WORKERS, 1),
            directory=self._absolute(fields.value(schema.DIRECTORY, "")),
            env=MappingProxyType({**shared, **fields.table(schema.ENV)}),
            stop=StopPolicy(stop.value(schema.SIGNAL, usual.signal), stop.value(schema.GRACE, usual.grace)),
            restart=RestartPolicy(
                restart.value(schema.POLICY, RestartWhen.ALWAYS), restart.value(schema.BACKOFF, Backoff())
            ),
            logs=LogPolicy(self._log_file(file) if file else None),
        )

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._directory, path))

    def _log_file(self, path: str) -> str:
        """Braces in the directory are not placeholders."""
        return os.path.normpath(os.path.join(self._directory.replace("{", "{{"), path))

    def _at(self, node: Node, message: str, expected: str) -> None:
        length = node.length if isinstance(node, Scalar) else 1
        self._source.problem(node.line, node.column, length, message, expected)


def default_name(directory: str) -> str:
    """The name of a project that has none: that of its directory, without what a name cannot hold."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(directory)).strip("._-")[:64]
    return cleaned or "procq"


def _is_reported(queue: Node) -> bool:
    """Whether another problem already says where the command of a queue should be."""
    if not isinstance(queue, nodes.Mapping):
        return True
    known = [key.name for key in schema.QUEUE.keys]
    return any(key.text not in known and nearest(key.text, known) == "command" for key, _ in queue.entries)


def _entries(node: Node | None, section: Section) -> dict[str, Node]:
    match node:
        case nodes.Mapping(entries=entries):
            return {key.text: value for key, value in entries}
        case Scalar() if section.short is not None:
            return {section.short: node}
        case _:
            return {}
