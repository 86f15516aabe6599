"""Arguments: one small parser for what comes before the verb, one for the verb itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from procq.cli.verbs import VERBS
from procq.errors import ExitCode

_TOP = """\
Runs the workers of your queues as one file says, and keeps them so.

  procq up                     run ./procq.yaml (or ./Procfile) here, output in this terminal
  procq up -d                  the same in the background
  procq status                 what runs
  procq scale emails=5         five workers for the queue "emails", until `emails=auto`

Change the number of workers in the file and save it: a running procq follows.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that fails with the exit code for wrong usage, and says where help is."""

    def error(self, message: str) -> NoReturn:
        """Reports wrong usage and exits."""
        sys.stderr.write(f"procq: {message}\n       `{self.prog} --help` shows how it is used.\n")
        sys.exit(ExitCode.USAGE)

    @classmethod
    def top(cls) -> Parser:
        """The parser for `procq` itself."""
        verbs = "\n".join(f"  {verb:<10} {summary}" for verb, summary in VERBS.items())
        parser = cls(
            prog="procq",
            usage="procq [-f FILE] [--name NAME] COMMAND …",
            description=_TOP,
            epilog=f"commands:\n{verbs}\n\n`procq COMMAND --help` explains one of them.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("--version", action="store_true", help="show the version and exit")
        _project_options(parser, short=True)
        return parser

    def parse_known_args_before_verb(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Splits at the verb: options of `procq` itself before it, all else after."""
        at = 0
        while at < len(arguments) and arguments[at].startswith("-"):
            at += 2 if arguments[at] in {"-f", "--file", "--name"} else 1
        given = self.parse_args(arguments[:at])
        if given.version:
            from procq.core import VERSION

            print(f"procq {VERSION}")
            sys.exit(0)
        return given, list(arguments[at:])


def verb_parser(verb: str, text: str) -> Parser:
    """The parser for one verb; `text`, its module's docstring, is the help."""
    return Parser(
        prog=f"procq {verb}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_project_options(parser: Parser, given: argparse.Namespace) -> None:
    """Adds the choice of the project, with what was said before the verb as the default."""
    taken = {option for action in parser._actions for option in action.option_strings}
    _project_options(parser, short="-f" not in taken)
    parser.set_defaults(**{name: value for name, value in vars(given).items() if value is not None})


def _project_options(parser: argparse.ArgumentParser, *, short: bool) -> None:
    group = parser.add_argument_group("which procq")
    flags = ["-f", "--file"] if short else ["--file"]
    group.add_argument(*flags, metavar="FILE", help="the manifest (default: procq.yaml, procq.yml or Procfile here)")
    group.add_argument("--name", metavar="NAME", help="a second copy of the same manifest has a name of its own")
