"""Times procq beside what cannot be beaten, in one run.

benches/run.py                 all benchmarks, a table each
benches/run.py crash output    these
benches/peers.sh               other process managers, installed for that, beside procq
benches/run.py adapters        what an adapter costs a job (ADAPTER=Huey for one of them; after `make adapters`)
benches/run.py --gate          the limit that CI holds: exits 1 when one worker takes too long to start
benches/run.py --hold telemetry  exits 1 when an aim is not met
benches/run.py --save FILE     writes the tables there as well
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benches.kit import Row

# Run as a script, so that its neighbours are found wherever it is called from.
sys.path[:0] = [str(Path(__file__).parent.parent)]

BENCHES = (
    *("spawn", "start", "scale", "manifest", "plan", "crash", "stop", "memory", "cpu", "output", "status", "scaler"),
    "telemetry",
)
APART = ("peers", "adapters")
"""Only when asked for: they need more than procq's own environment."""


def main(arguments: Sequence[str]) -> int:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"one of {', '.join(BENCHES)} (all)")
    parser.add_argument("--gate", action="store_true", help="only the limit that CI holds")
    parser.add_argument("--hold", action="store_true", help="exit 1 where an aim is not met")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the tables to a file too")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.benches if name not in (*BENCHES, *APART)]:
        parser.error(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(BENCHES)}")
    if options.gate:
        return _gate()
    parts, missed = [], 0
    for part, rows in _parts(options.benches or BENCHES):
        print(part, flush=True)
        parts.append(part)
        missed += sum(row.met is False for row in rows)
    if options.save is not None:
        options.save.write_text("\n".join(parts))
    return 1 if options.hold and missed else 0


def _parts(names: Sequence[str]) -> Iterator[tuple[str, Sequence[Row]]]:
    from benches.kit import machine, table

    yield f"{machine()}\n", ()
    for name in names:
        module = importlib.import_module(f"benches.{name}")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="pqb") as scratch:
            rows = module.run(Path(scratch))
        summary = (module.__doc__ or "").strip().splitlines()[0]
        yield f"## {name}\n\n{summary}\n\n{table(rows)}\n\n{time.monotonic() - began:.0f} s\n", rows


def _gate() -> int:
    from benches.spawn import gate

    faults = gate()
    for fault in faults:
        print(f"spawn gate shut, {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
