"""The command line. A file a verb; nothing is imported before it is needed, so that every verb answers at once."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence

from procq.cli.parser import Parser, add_project_options, verb_parser
from procq.cli.terminal import Terminal
from procq.cli.verbs import ALIASES, VERBS
from procq.errors import ExitCode, ProcqError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    _prepare_output()
    terminal = Terminal(os.environ)
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments), terminal)
    except KeyboardInterrupt:
        terminal.clear_progress()
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has seen enough.
        _silence()
        return ExitCode.FAILED
    except OSError as error:
        _silence()
        what = error.strerror or str(error)
        terminal.fail(ProcqError(f"{error.filename}: {what}" if error.filename else what))
        return ExitCode.FAILED
    except ProcqError as error:
        terminal.fail(error)
        return error.exit_code


def _prepare_output() -> None:
    """Standard output may be closed, or have an encoding without our signs: neither is a reason to fail."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the process ends
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _silence() -> None:
    """Nothing may be written to standard output any more, not even at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str], terminal: Terminal) -> int:
    top = Parser.top()
    given, rest = top.parse_known_args_before_verb(arguments)
    if not rest:
        top.print_help()
        return 0
    verb = ALIASES.get(rest[0], rest[0])
    if verb not in VERBS:
        top.error(_unknown(rest[0]))
    module = importlib.import_module(f"procq.cli.{verb}")
    parser = verb_parser(verb, module.__doc__ or "")
    module.add_arguments(parser)
    add_project_options(parser, given)
    words, command = rest[1:], []
    if getattr(module, "TAKES_A_COMMAND", False) and "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    options = parser.parse_intermixed_args(words)
    options.command = command
    code: int = module.run(options, terminal)
    return code


def _unknown(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, [*VERBS, *ALIASES], n=1)
    return f'there is no command "{word}"' + (
        f': did you mean "{near[0]}"?' if near else ". `procq --help` lists them."
    )
