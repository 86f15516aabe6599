"""Prints the manual page, in the language of man(7).

  procq man | man -l -         read it
  procq man > ~/.local/share/man/man1/procq.1

It says what `procq COMMAND --help` says, of all commands. Installing procq from a wheel installs it too.
"""

from __future__ import annotations

import argparse

from procq.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq man`: nothing of its own."""


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Prints it."""
    from procq.cli.render.manpage import manual

    terminal.write(manual())
    return 0
