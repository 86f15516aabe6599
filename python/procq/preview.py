"""What running a manifest would do where nothing runs yet: planned as procq itself would, and not done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from procq import manifest
from procq.api.differences import plan_view
from procq.intent import Intent
from procq.plan.diff import compare
from procq.state import Observed
from procq.wire import PlanView


def from_nothing(path: Path, environ: Mapping[str, str]) -> PlanView:
    """The plan for everything in the manifest at `path`. Raises ManifestError."""
    return plan_view(compare(None, Intent(manifest.load(path, environ)), Observed()), str(path), None)
