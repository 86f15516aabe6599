"""All verbs in one parser: what completion and the manual page are made from."""

from __future__ import annotations

import argparse
import importlib

from procq.cli.parser import Parser, add_project_options, verb_parser
from procq.cli.verbs import ALIASES, VERBS


def verb_parsers() -> dict[str, Parser]:
    """The parser of every verb, as it reads what follows the verb."""
    parsers = {}
    for verb in VERBS:
        module = importlib.import_module(f"procq.cli.{verb}")
        parsers[verb] = verb_parser(verb, module.__doc__ or "")
        module.add_arguments(parsers[verb])
        add_project_options(parsers[verb], argparse.Namespace())
    return parsers


def whole() -> Parser:
    """One parser that reads whole command lines: verbs, aliases and their options."""
    top = Parser.top()
    parsers = verb_parsers()
    verbs = top.add_subparsers(metavar="COMMAND")
    for verb, summary in VERBS.items():
        aliases = [alias for alias, meant in ALIASES.items() if meant == verb]
        verbs.add_parser(verb, parents=[parsers[verb]], add_help=False, help=summary, aliases=aliases)
    return top
