"""What the API needs from the process that serves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from procq.intent import Intent
from procq.wire import DecisionView, PlanView

if TYPE_CHECKING:
    from procq.engine.view import StateView
    from procq.history import History
    from procq.telemetry.measures import Family
    from procq.views import About


@dataclass(frozen=True, slots=True)
class Facts:
    """What a person wants to know about the process itself. `in_force_since` is in seconds since the Unix epoch."""

    project: str
    manifest: str
    in_force_since: float | None
    up_for: float
    keeper_pid: int
    control_plane_pid: int
    manifest_error: str | None
    tier: int | None = None
    """Of containment (docs/guarantees.md); None where it is not known."""


class Control(Protocol):
    """The control plane as the API sees it. Everything happens on the loop that serves requests."""

    @property
    def history(self) -> History:
        """What happened."""

    def view(self) -> StateView:
        """Everything at this moment."""

    def now(self) -> float:
        """The clock of the engine, in seconds."""

    def facts(self) -> Facts:
        """About the process itself."""

    async def about(self) -> About:
        """What workers use, and what is remembered of them."""

    async def measures(self) -> Sequence[Family]:
        """Every number at this moment."""

    def change(self, change: Callable[[Intent], Intent], reason: str) -> None:
        """Changes what is wanted, for a reason that is remembered. Exceptions of `change` pass through."""

    async def decisions(self, name: str, limit: int) -> Sequence[DecisionView]:
        """The decision about a queue that holds now, if any, and the newest `limit` changes before it."""

    async def plan(self, file: str | None) -> PlanView:
        """What the manifest on disk, or another `file` in its place, would change. Raises ManifestError."""
