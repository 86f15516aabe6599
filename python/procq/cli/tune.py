"""Searches for the cheapest setting of a queue that meets its objective, on a load in virtual time.

  procq tune --load flash --wait 20s
  procq tune --load jobs.csv --job-time 2s --boot 8s

Tried are the styles, and more workers that are always there where no style is enough. Each setting is simulated as
`procq simulate` does it. What is printed at the end can be put into the manifest.

Exit code: 0 a setting meets the objective, 2 none does.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from procq.cli.simulate import add_circumstances, document, trial_of
from procq.errors import ExitCode
from procq.rules import Style
from procq.text import count, duration

if TYPE_CHECKING:
    from procq.cli.terminal import Terminal
    from procq.simulate.trial import Found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines what may follow `procq tune`."""
    add_circumstances(parser)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Tries settings and prints the best."""
    from procq.simulate.trial import cheapest, snippet

    tried: list[Found] = []
    trial = trial_of(options, Style.BALANCED)

    def said(found: Found) -> None:
        tried.append(found)
        terminal.progress(f"{count(len(tried), 'setting')} tried …")

    best = cheapest(trial, said)
    if options.json:
        shown = {
            "meets": best.meets,
            "manifest": "\n".join(snippet(best)),
            "best": document(best.trial, best.result),
            "tried": [document(each.trial, each.result) for each in tried],
        }
        terminal.line(json.dumps(shown, indent=2 if terminal.is_terminal else None))
    else:
        terminal.lines(_lines(best, tried, snippet(best)))
    return ExitCode.DONE if best.meets else ExitCode.DIFFERENCES


def _lines(best: Found, tried: list[Found], manifest: list[str]) -> list[str]:
    lines = [f"  {'STYLE':<10} {'AT LEAST':>8}  {'IN TIME':>8}  {'P95':>7}  {'HOURS':>6}  {'STARTED':>7}"]
    for each in tried:
        mark = ">" if each is best else " "
        result = each.result
        lines.append(
            f"{mark} {each.trial.style:<10} {each.trial.least:>8}  {result.attained:>8.1%}  "
            f"{duration(result.percentile(0.95)):>7}  {result.ratio:>6.2f}  {result.spawns:>7,}"
        )
    wait = duration(best.trial.load.wait)
    if best.meets:
        said = f"The cheapest that has 95% of the jobs begin within {wait}:"
    else:
        said = (
            f"None has 95% of the jobs begin within {wait}; this comes closest. More workers, or quicker boots, help:"
        )
    return [*lines, "", said, "", *(f"    {line}" for line in manifest)]
