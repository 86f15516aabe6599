"""What the keeper starts a control plane with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of a control plane.

    `instance` is what `--name` said, "" without; `since` is when procq was started, on the monotonic clock; `service`
    whether a service manager wants to hear how procq is. With `probe_fd` it only says whether it could take over from
    the intent that stands in that file. `tier` of containment is in force, 0 where the keeper did not say; `keeper_pid`
    is its number outside of its namespace. `verbose`: 1 tells spawns, signals and decisions in the terminal,
    2 each message to and from the keeper too.
    """

    manifest: Path
    instance: str
    since: float
    prefix_width: int
    color: bool
    service: bool = False
    link_fd: int = -1
    api_fd: int = -1
    probe_fd: int = -1
    tier: int = 0
    keeper_pid: int = 0
    verbose: int = 0

    def arguments(self) -> list[str]:
        """The inverse of `parse`, without what the keeper adds itself."""
        return [
            f"--manifest={self.manifest}",
            f"--instance={self.instance}",
            f"--since={self.since!r}",
            f"--prefix-width={self.prefix_width}",
            *(["--color"] if self.color else []),
            *(["--service"] if self.service else []),
            *([f"--verbose={self.verbose}"] if self.verbose else []),
        ]


def parse(arguments: Sequence[str]) -> Options:
    """Reads the command line. Exits where it is not one."""
    parser = argparse.ArgumentParser(prog="procq.daemon", allow_abbrev=False)
    parser.add_argument("--link-fd", type=int, required=True, help="socket to the keeper")
    parser.add_argument("--api-fd", type=int, required=True, help="listening socket of the API")
    parser.add_argument("--probe-fd", type=int, default=-1, help="say whether the intent in this file can be read")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--instance", default="")
    parser.add_argument("--since", type=float, required=True)
    parser.add_argument("--prefix-width", type=int, required=True)
    parser.add_argument("--color", action="store_true")
    parser.add_argument("--service", action="store_true")
    parser.add_argument("--tier", type=int, default=0)
    parser.add_argument("--keeper-pid", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=0)
    # The keeper may be of another version, and know options that are none any more.
    return Options(**vars(parser.parse_known_args(arguments)[0]))
