"""Prints the JSON Schema of the manifest, with which editors complete and check it while you type.

  procq schema > procq.schema.json

then, as the first line of the manifest, for editors with the YAML language server:

  # yaml-language-server: $schema=./procq.schema.json
"""

from __future__ import annotations

import argparse

from procq.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq schema`: nothing of its own."""


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Prints it."""
    import json

    from procq import manifest

    terminal.line(json.dumps(manifest.schema_json(), indent=2, ensure_ascii=False))
    return 0
