"""From what a person wrote as a command to an argument vector."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from procq.manifest import nodes
from procq.manifest.expand import expand, replace
from procq.manifest.nodes import Node, Scalar
from procq.manifest.units import Refused

_SHELL = "/bin/sh"
_OPERATORS = frozenset(("&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1", "2>", "&>"))
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_DOLLAR = re.compile(r"(?<!\$)\$([A-Za-z_][A-Za-z0-9_]*|\()")
_SINGLE_QUOTED = re.compile(r"'[^']*'")
_ONLY_SHELL = '"{}" has a meaning only in a shell, and this command runs without one'
_USE_SHELL = "add `shell: yes` to the queue, or write the command as a list to pass it on as it is"
# One program with its arguments: nothing in it needs a shell that stays around, so the program may take its place.
_SIMPLE = re.compile(r"\s*([A-Za-z0-9_./-]+)(?:\s[^;&|<>()`\n]*)?")
_BUILTINS = frozenset(
    {
        ".",
        ":",
        "[",
        "alias",
        "bg",
        "break",
        "case",
        "cd",
        "command",
        "continue",
        "echo",
        "eval",
        "exec",
        "exit",
        "export",
        "false",
        "fg",
        "for",
        "function",
        "getopts",
        "hash",
        "if",
        "jobs",
        "kill",
        "local",
        "printf",
        "pwd",
        "read",
        "readonly",
        "return",
        "select",
        "set",
        "shift",
        "source",
        "test",
        "time",
        "times",
        "trap",
        "true",
        "type",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "until",
        "wait",
        "while",
    }
)


def shell(command: str) -> tuple[str, ...]:
    """The vector that has /bin/sh run `command`.

    A single program replaces the shell, so that it is the worker itself and hears the stop signal. Variables are left
    to the shell: their values never become part of the script.
    """
    found = _SIMPLE.fullmatch(command)
    replaces = found is not None and found[1] not in _BUILTINS
    return (_SHELL, "-c", f"exec {command.strip()}" if replaces else command)


def argv(node: Node | None, use_shell: bool, environ: Mapping[str, str], remedy: str = _USE_SHELL) -> tuple[str, ...]:
    """The argument vector of a command; `remedy` is how to get a shell. Raises Refused."""
    match node:
        case Scalar(text=text):
            vector = shell(text) if use_shell else words(text, environ, remedy)
        case nodes.Sequence(items=items) if not use_shell:
            vector = listed([i.text for i in items if isinstance(i, Scalar)], environ)
        case nodes.Sequence():
            raise Refused("a shell needs the command as text, not as a list", "take `shell: yes` out, or write text")
        case _:
            return ()
    if not vector or not vector[0]:
        raise Refused("the command names no program", "write the program first, then its arguments")
    return vector


def words(command: str, environ: Mapping[str, str], remedy: str = _USE_SHELL) -> tuple[str, ...]:
    """Splits as a shell would, then expands: a value with spaces in it stays one word.

    Raises Refused for a quote that is not closed and for syntax that only a shell understands; `remedy` says then how
    to get one.
    """
    values: list[str] = []

    def keep_out(value: str) -> str:
        values.append(value)
        return f"\0{len(values) - 1}\0"

    marked = replace(command, environ, keep_out)
    try:
        parts = shlex.split(marked)
    except ValueError:
        raise Refused("the command has a quote that is opened and never closed", "close it") from None
    _refuse_shell_syntax(parts, command, remedy)
    return tuple(re.sub("\0([0-9]+)\0", lambda found: values[int(found[1])], part) for part in parts)


def listed(items: Sequence[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    """The words of a command written as a list, expanded and otherwise as they are."""
    return tuple(expand(item, environ) for item in items)


def _refuse_shell_syntax(parts: Sequence[str], command: str, remedy: str) -> None:
    for part in parts:
        if part in _OPERATORS:
            raise Refused(_ONLY_SHELL.format(part), remedy)
    # In single quotes a dollar is meant as it is, as in sh -c 'echo $HOME' or awk '{print $1}'.
    if dollar := _DOLLAR.search(_SINGLE_QUOTED.sub("", command)):
        braces = "" if dollar[1] == "(" else f"write ${{{dollar[1]}}}, or "
        raise Refused(_ONLY_SHELL.format(dollar[0]), braces + remedy)
    if parts and (found := _ASSIGNMENT.match(parts[0])):
        raise Refused(f'"{found[0]}…" sets a variable only in a shell', f"write {found[1]} under `env:` of the queue")


def join(argv: Sequence[str]) -> str:
    """A vector as a person would type it."""
    return shlex.join(argv)
