"""The words in which the schema is written: typed keys, sections and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Value(Generic[T_co]):
    """A key with one value: `what` it is ("a duration") and what was `expected` where it is not."""

    name: str
    read: Callable[[str], T_co]
    what: str
    expected: str
    about: str


@dataclass(frozen=True, slots=True)
class Command:
    """A key with a command: text that is split into words, or a list of words."""

    name: str
    about: str


@dataclass(frozen=True, slots=True)
class Table:
    """A key with entries named by the user: `key` reads their names, `value` says what they hold."""

    name: str
    key: Value[str]
    value: Value[str] | Section
    about: str


@dataclass(frozen=True, slots=True)
class Section:
    """A key with a fixed set of keys below it. One value alone stands for the key named `short`.

    `later` holds the keys of the design that this version does not know yet, each with what it is for.
    """

    name: str
    keys: tuple[Key, ...]
    about: str
    short: str | None = None
    later: Mapping[str, str] = field(default_factory=lambda: _NONE)

    def find(self, name: str) -> Key | None:
        """The key of that name."""
        return next((key for key in self.keys if key.name == name), None)


Key = Value[object] | Command | Table | Section
