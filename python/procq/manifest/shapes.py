"""Shapes that keys of the schema share: patterns, and makers of the commonest kinds."""

from __future__ import annotations

from procq.manifest import units
from procq.manifest.keys import Nature, Value

DURATION = r"[0-9]+(\.[0-9]+)?(ms|s|m|h|d)"
DURATION_RULE = "expected a number with a unit, as in 500ms, 30s or 5m"
SIZE = r"[0-9]+(\.[0-9]+)?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)"
YES_NO = ("yes", "no", "true", "false")


def yes_no(name: str, about: str) -> Value[bool]:
    """A key of nature rolling that is off unless somebody says yes."""
    what, expected = "yes or no", "expected yes or no"
    return Value(name, units.yes_or_no, what, expected, about, "no", "", ("yes",), YES_NO, nature=Nature.ROLLING)


def duration(name: str, about: str, default: str, examples: tuple[str, ...]) -> Value[float]:
    """A key with a duration of any length."""
    return Value(name, units.duration, "a duration", DURATION_RULE, about, default, "", examples, (), DURATION)
