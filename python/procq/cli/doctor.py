"""Looks at everything procq needs here, and says what to do about what it lacks. Changes nothing.

  procq doctor                 kernel, limits, permissions, the manifest, and whether procq runs
  procq doctor --json          one JSON document: {"checks": [{"subject", "verdict", "text", "hint"}, …]}

✓ is as it should be, ! will do but could be better, ✗ keeps procq from working.
Exit code: 0 nothing is wrong, 1 something is.
"""

from __future__ import annotations

import argparse

from procq.cli.terminal import Terminal
from procq.errors import ExitCode

_SIGNS = {"good": ("✓", "green"), "weak": ("!", "yellow"), "bad": ("✗", "red")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Makes all checks and prints them."""
    from procq.cli import checkup

    findings = list(checkup.findings(options))
    if options.json:
        import json

        document = {"version": 1, "checks": [finding.as_json() for finding in findings]}
        terminal.line(json.dumps(document, ensure_ascii=False, indent=2 if terminal.is_terminal else None))
    else:
        for finding in findings:
            sign, colour = _SIGNS[finding.verdict]
            terminal.line(f"{terminal.style(sign, colour)} {finding.subject:<12} {finding.text}")
            if finding.hint:
                terminal.line(f"{'':<15}{terminal.style(finding.hint, 'dim')}")
    return ExitCode.FAILED if any(finding.verdict == "bad" for finding in findings) else ExitCode.DONE
