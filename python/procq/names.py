"""What queues and projects may be called. Cheap to import."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

NAME_RULE = "letters, digits, dots, dashes and underscores, beginning with a letter or digit, at most 64 of them"
"""What `is_name` asks for, in words."""


def is_name(text: str) -> bool:
    """Whether a queue or a project can be called so."""
    return _NAME.fullmatch(text) is not None
