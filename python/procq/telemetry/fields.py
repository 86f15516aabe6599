"""What stands under the keys of a configuration file, checked, and notes of what is wrong or not used. Pure.

No message shows a value: it may be a secret, or come from a variable that holds one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from procq.telemetry.document import Items, Node, Scalar, Table, null

T = TypeVar("T")

_SHOWN: Final = 5
"""Mistakes that are told; who mends these sees the others next."""


@dataclass(slots=True)
class Notes:
    """What was found while reading a file. `lenient` is for one of a later version: what is not known may be right."""

    lenient: bool = False
    faults: dict[int, str] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    """Keys that are right and have no effect here, with their lines."""

    def fault(self, node: Node, what: str) -> None:
        """Something is wrong. The first thing in a line stands; more of it often follows from that."""
        where = f"`{node.path}` " if node.path else "the file "
        self.faults.setdefault(node.line, where + what)

    def skip(self, node: Node) -> None:
        """A key that has no effect here."""
        self.unused.setdefault(node.path, node.line)

    def fields(self, node: Node, used: str, unused: str = "", silent: str = "", *, extensible: bool = False) -> Fields:
        """The entries of a table; `used`, `unused` and `silent` are the keys that it may have, and what extends it.

        What is not used is told, and what is silent is not: it has no meaning for a program that traces only itself.
        """
        if null(node):
            return Fields(self, node, {})
        if not isinstance(node, Table):
            self.fault(node, "is not what it should be: below it stand keys, each in a line of its own")
            return Fields(self, node, {}, broken=True)
        known = frozenset(used.split())
        without_effect, ignored = frozenset(unused.split()), frozenset(silent.split())
        for name, value in node.entries.items():
            if name in without_effect:
                if not null(value):
                    self.skip(value)
            elif name not in known and name not in ignored:
                self._unknown(value, name, known | without_effect | ignored, extensible)
        return Fields(self, node, {name: value for name, value in node.entries.items() if name in known})

    def one_of(self, node: Node, names: Collection[str], what: str) -> tuple[str, Node] | None:
        """The component that a node names: the one key of a table. None where that is not one of `names`."""
        if not isinstance(node, Table) or len(node.entries) != 1:
            self.fault(node, f"names no {what}: one of {_listed(names)}")
            return None
        ((name, value),) = node.entries.items()
        if name not in names:
            self.fault(value, f"is no {what} that procq has: {_listed(names)}")
            return None
        return name, value

    def _unknown(self, value: Node, name: str, known: Collection[str], extensible: bool) -> None:
        if extensible or self.lenient or "/" in name:
            # Somebody else's, of a later version, or of what is tried out: /development, /alpha, /beta.
            self.skip(value)
            return
        from difflib import get_close_matches

        near = get_close_matches(name, known, 1)
        self.fault(value, f"is not known here: did you mean `{near[0]}`?" if near else "is not known here")

    def wrong(self) -> str | None:
        """What is wrong, as half a sentence."""
        if not self.faults:
            return None
        found = [f"line {line}: {what}" for line, what in sorted(self.faults.items())]
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return "; ".join(found[:_SHOWN]) + more


@dataclass(frozen=True, slots=True)
class Fields:
    """Entries of a table. What is null counts as left out, except to `node`."""

    notes: Notes
    owner: Node
    entries: Mapping[str, Node]
    broken: bool = False
    """It was no table, which has been noted."""

    def node(self, name: str) -> Node | None:
        """What stands there, null or not; None where the key does not."""
        return self.entries.get(name)

    def named(self, name: str = "name") -> str | None:
        """A text that has to be there; noted where it is not."""
        found = self.text(name)
        if found is None and not self.broken:
            self.notes.fault(self.owner, f"has no `{name}`")
        return found

    def required(self, name: str) -> Node | None:
        """What stands there; noted where nothing does."""
        found = self.entries.get(name)
        if found is None and not self.broken:
            self.notes.fault(self.owner, f"has no `{name}`")
        return found

    def items(self, name: str, *, required: bool = False) -> tuple[Node, ...]:
        """A list, which is not empty."""
        found = self.required(name) if required else self.entries.get(name)
        if found is None:
            return ()
        if not isinstance(found, Items) or not found.items:
            self.notes.fault(found, "is not what it should be: a list, each item after a `-`")
            return ()
        return found.items

    def whole(self, name: str, default: int, least: int = 0, most: int = 2**31) -> int:
        """A whole number from `least` to `most`."""
        found = self._value(name)
        if found is None:
            return default
        if isinstance(found.value, int) and not isinstance(found.value, bool) and least <= found.value <= most:
            return found.value
        self.notes.fault(found, f"is no whole number from {least} to {most}")
        return default

    def flag(self, name: str) -> bool:
        """True or false; false where it is left out."""
        found = self._value(name)
        if found is None:
            return False
        if isinstance(found.value, bool):
            return found.value
        self.notes.fault(found, "is neither `true` nor `false`")
        return False

    def text(self, name: str) -> str | None:
        """A text. A number is one too: of a variable's value nobody knows that it looks like one."""
        found = self._value(name)
        return None if found is None else found.text

    def choice(self, name: str, choices: Mapping[str, T], default: T) -> T:
        """One of several words."""
        return self.checked(name, choices.get, default, f"is none of {_listed(choices)}")

    def checked(self, name: str, read: Callable[[str], T | None], default: T, wrong: str) -> T:
        """What `read` makes of a text; noted as `wrong` where that is None."""
        found = self._value(name)
        if found is None:
            return default
        value = read(found.text)
        if value is None:
            self.notes.fault(found, wrong)
            return default
        return value

    def _value(self, name: str) -> Scalar | None:
        found = self.entries.get(name)
        if found is None or null(found):
            return None
        if isinstance(found, Scalar):
            return found
        self.notes.fault(found, "is not what it should be: one value, in the same line")
        return None


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
