"""Texts as people and accidents change them: nearly right, or not at all."""

from __future__ import annotations

import random

_SNIPPETS = (
    *("*", "&a", "!!x", "{", "}", "[", "]", ": ", ":", "- ", "|", ">", "#", "'", '"', "\t", "\n", "\r", "  "),
    *("${", "}", "${X}", "$${", "..", "%", "-1", "99999999999999999999", "0x1", "é", "🙂", "\0", "\x1b[31m"),
    *("\u202e", "\ufeff", "\udcff", "---\n", "queues:", "include: .", "env_file: /dev/null", "workers: 2.."),
    *("after: emails", "command:", "~", "null", "=", "\\"),
)  # fmt: skip


def mutated(text: str, chance: random.Random, most: int = 4) -> str:
    """`text` with a few accidents: characters and lines lost, doubled, swapped, moved, and snippets put in."""
    for _ in range(chance.randint(1, most)):
        text = chance.choice(_ACCIDENTS)(text, chance)
    return text


def _lose(text: str, chance: random.Random) -> str:
    start = chance.randrange(len(text) + 1)
    return text[:start] + text[start + chance.choice([1, 1, 2, 8, 40]) :]


def _insert(text: str, chance: random.Random) -> str:
    start = chance.randrange(len(text) + 1)
    return text[:start] + chance.choice(_SNIPPETS) + text[start:]


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def _on_lines(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            lines[one], lines[two] = lines[two], lines[one]
        case 1:
            lines.insert(two, lines[one])
        case 2:
            del lines[one]
        case 3:
            lines[one] = " " * chance.randrange(9) + lines[one].lstrip()
        case _:
            key, colon, value = lines[one].partition(":")
            lines[one] = f"{key}{colon} {lines[two].partition(':')[2]}{value if chance.random() < 0.2 else ''}"
    return "\n".join(lines)


def _swap_characters(text: str, chance: random.Random) -> str:
    if len(text) < 2:
        return text
    place = chance.randrange(len(text) - 1)
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


_ACCIDENTS = (_lose, _insert, _insert, _cut, _on_lines, _on_lines, _on_lines, _swap_characters)
