"""In which tiers of containment a test runs: those of docs/guarantees.md that this machine has.

A module with `EACH_TIER = True` runs in all of them; others in the one that procq takes by itself.
"""

from __future__ import annotations

import os
from functools import cache

import pytest

from tests.process.support import cgroups

ALL = (1, 2)
"""T3 has tests of its own: in it, numbers of processes are not those outside."""


@cache
def lacking(tier: int) -> str | None:
    """What keeps a tier from being used here."""
    own = cgroups.own()
    if tier == 2 and (own is None or not os.access(own, os.W_OK) or not os.access(own / "cgroup.procs", os.W_OK)):
        return "needs a control group that may be written"
    if tier == 3 and os.geteuid() != 0:
        return "needs root, to make namespaces on any machine"
    return None


def parameters() -> list[object]:
    """All tiers; those that cannot be had say why they are skipped."""
    marks = {tier: [pytest.mark.skip(reason=why)] if (why := lacking(tier)) else [] for tier in ALL}
    return [pytest.param(tier, id=f"T{tier}", marks=marks[tier]) for tier in ALL]


def generate(metafunc: pytest.Metafunc) -> None:
    """For `pytest_generate_tests`."""
    if "tier" in metafunc.fixturenames and getattr(metafunc.module, "EACH_TIER", False):
        metafunc.parametrize("tier", parameters(), indirect=True)
