"""The schema as JSON Schema (draft 2020-12), for editors: what they accept procq reads, as far as structure goes.

Editors read YAML with types, procq reads text: so numbers and booleans are accepted beside the text that says the same.
A text with a reference to a variable is accepted everywhere.
"""

from __future__ import annotations

import re
from typing import Any, assert_never

from procq.manifest import schema
from procq.manifest.keys import Command, Key, List, Nature, Section, Sections, Table, Value

Schema = dict[str, Any]

_REFERENCE = {"type": "string", "pattern": r"\$\{"}
_QUEUE = {"$ref": "#/$defs/queue"}
_BOOLEANS = {"yes", "no", "true", "false", "on", "off"}


def schema_json() -> Schema:
    """The whole manifest."""
    queue = _mapping(schema.QUEUE)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "procq manifest",
        "description": "Which queues there are, and what each deserves.",
        **_mapping(schema.ROOT),
        "anyOf": [{"required": ["queues"]}, {"required": ["include"]}],
        "$defs": {"queue": {"description": schema.QUEUE.about, **queue}},
    }


def _mapping(section: Section) -> Schema:
    return {
        "type": "object",
        "properties": {key.name: _key(key) for key in section.keys},
        "additionalProperties": False,
        "minProperties": 1,
    }


def _key(key: Key) -> Schema:
    return {"description": described(key)} | _shape(key)


def _shape(key: Key) -> Schema:
    match key:
        case Value():
            default = {} if key.default is None else {"default": key.default}
            examples = {"examples": list(key.examples)} if key.examples else {}
            return _value(key) | default | examples
        case List():
            item = _value(key.item)
            listed = {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
            return {"anyOf": [item, listed], "examples": [*key.item.examples]}
        case Command():
            words = {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1}
            return {"anyOf": [{"type": "string", "pattern": r"\S"}, words], "examples": list(key.examples)}
        case Sections():
            return {"type": "array", "items": _mapping(key.section), "minItems": 1}
        case Table():
            return _table(key)
        case Section() if key is schema.DEFAULTS:
            return dict(_QUEUE)
        case Section():
            return _short(key, _mapping(key))
        case _:
            assert_never(key)


def _table(key: Table) -> Schema:
    value = _short(key.value, dict(_QUEUE)) if isinstance(key.value, Section) else _value(key.value)
    shape: Schema = {"type": "object", "minProperties": 1}
    if key.key.choices:
        return shape | {"properties": dict.fromkeys(key.key.choices, value), "additionalProperties": False}
    return shape | {"propertyNames": {"pattern": _whole(key.key.pattern)}, "additionalProperties": value}


def _short(section: Section, mapping: Schema) -> Schema:
    """A section for which one value may stand."""
    match section.alone:
        case Value() as key:
            default = {} if section.word is None else {"default": key.default}
            return {"anyOf": [*_value(key)["anyOf"], mapping]} | default
        case Command():
            return {"anyOf": [{"type": "string", "pattern": r"\S"}, mapping]}
        case _:
            return mapping


def _value(key: Value[object]) -> Schema:
    if key.choices:
        choices: list[object] = list(key.choices)
        if _BOOLEANS.issuperset(key.choices):
            choices += [True, False]
        elif key.numeric:
            choices += [int(choice) for choice in key.choices]
        return {"anyOf": [{"enum": choices}, _REFERENCE]}
    if not key.pattern:
        return {"type": ["string", "number", "boolean", "null"]}
    options: list[Schema] = [{"type": "string", "pattern": _whole(key.pattern)}]
    if key.numeric:
        kind = "number" if re.fullmatch(key.pattern, "0.5") else "integer"
        options.append({"type": kind} if re.fullmatch(key.pattern, "-1") else {"type": kind, "minimum": 0})
    return {"anyOf": [*options, _REFERENCE]}


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


def described(key: Key) -> str:
    """What a key is, and what holds without it, in plain text."""
    parts = [key.about]
    without = left_out(key)
    if without:
        parts.append(f"If left out: {without}.")
    if isinstance(key, Value | List | Command | Table | Sections) and key.nature is Nature.ROLLING:
        parts.append("A change replaces workers.")
    return " ".join(parts).replace("`", "")


def left_out(key: Key) -> str:
    """What holds without a key, in words."""
    match key:
        case Value(default=str(default)):
            return f"`{default}`"
        case Section():
            return ""
        case _:
            return key.otherwise
