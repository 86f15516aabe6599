"""What one objective would have. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from procq.scaling.signals import Term


@dataclass(frozen=True, slots=True)
class Proposal:
    """`target` workers, for the objective `name`; `winner` is the term of it that decided."""

    name: str
    target: int
    reason: str
    terms: tuple[Term, ...]
    winner: str
    wake_at: float | None = None
