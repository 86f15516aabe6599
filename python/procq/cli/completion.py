"""Prints what teaches a shell to complete commands, options, files, and the queues that run here.

  procq completion bash > ~/.local/share/bash-completion/completions/procq
  procq completion zsh > ~/.zfunc/_procq       (with `fpath+=~/.zfunc` before compinit in ~/.zshrc)
  procq completion fish > ~/.config/fish/completions/procq.fish

`procq completion targets` prints the names of the queues here, which is what the scripts ask.
"""

from __future__ import annotations

import argparse

from procq.cli.terminal import Terminal
from procq.errors import ProcqError

SHELLS = ("bash", "zsh", "fish")
_ASK = "procq completion targets"
_PATIENCE = 0.5
_FILES = {"FILE"}
_TARGETS = {"TARGET", "QUEUE=N"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq completion`."""
    parser.add_argument("shell", choices=(*SHELLS, "targets"), help="the shell, or `targets`")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Prints the script, or the names."""
    if options.shell != "targets":
        terminal.write(script(options.shell))
        return 0
    from procq.cli.project import client_of

    try:
        terminal.lines(queue.name for queue in client_of(options, _PATIENCE).status().queues)
    except ProcqError:
        # Where nothing runs there is nothing to complete, and no place for a complaint.
        return 1
    return 0


def script(shell: str) -> str:
    """The completion of one shell, from the parsers that read the command line."""
    import shtab

    from procq.cli.definition import whole

    parser = whole()
    for action in _all_actions(parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # what shtab looks for
        elif action.metavar in _TARGETS:
            action.complete = shtab.cmd(_ASK)  # type: ignore[attr-defined]
    text: str = shtab.complete(parser, shell)
    return text if text.endswith("\n") else text + "\n"


def _all_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                found += _all_actions(below)
    return found
