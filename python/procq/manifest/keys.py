"""The words in which the schema is written: typed keys, lists, sections and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Nature(StrEnum):
    """What a change of a key does to workers that run: nothing, or they are replaced."""

    LIVE = "live"
    ROLLING = "rolling"


@dataclass(frozen=True, slots=True)
class Value(Generic[T_co]):
    """A key with one value: `what` it is ("a duration") and what was `expected` where it is not.

    `default` is the text that means the same as leaving the key out; where there is none, `otherwise` says in words
    what holds then. `choices` are all values there are; else `pattern` matches the whole of every value that is read
    (and of some that are not). `numeric`: values may look like numbers to YAML.
    """

    name: str
    read: Callable[[str], T_co]
    what: str
    expected: str
    about: str
    default: str | None = None
    otherwise: str = ""
    examples: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    pattern: str = ""
    numeric: bool = False
    nature: Nature = Nature.LIVE


@dataclass(frozen=True, slots=True)
class List:
    """A key with a list of values of one kind; a single value stands for a list of one."""

    name: str
    item: Value[str]
    about: str
    otherwise: str = "none"
    nature: Nature = Nature.LIVE


@dataclass(frozen=True, slots=True)
class Command:
    """A key with a command: text that is split into words, or a list of words."""

    name: str
    about: str
    otherwise: str
    examples: tuple[str, ...] = ()
    nature: Nature = Nature.ROLLING


@dataclass(frozen=True, slots=True)
class Table:
    """A key with entries named by the user: `key` reads their names, `value` says what they hold."""

    name: str
    key: Value[str]
    value: Value[object] | Section
    about: str
    otherwise: str = "none"
    nature: Nature = Nature.LIVE


@dataclass(frozen=True, slots=True)
class Section:
    """A key with a fixed set of keys below it. One value alone stands for the key named `short`, or is `word`.

    `word` has the name of the section: what is written in the place of its keys, and says something of its own.
    """

    name: str
    keys: tuple[Key, ...]
    about: str
    short: str | None = None
    word: Value[object] | None = None

    def find(self, name: str) -> Key | None:
        """The key of that name."""
        return next((key for key in self.keys if key.name == name), None)

    @property
    def alone(self) -> Value[object] | Command | None:
        """How one value is read that stands in the place of its keys; None: not at all."""
        key = self.word or (self.find(self.short) if self.short is not None else None)
        assert key is None or isinstance(key, Value | Command)
        return key


@dataclass(frozen=True, slots=True)
class Sections:
    """A key with a list of sections, all of the same kind, without names."""

    name: str
    section: Section
    about: str
    otherwise: str = "none"
    nature: Nature = Nature.LIVE


Key = Value[object] | List | Command | Table | Section | Sections
