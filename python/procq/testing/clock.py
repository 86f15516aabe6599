"""A clock that only you move."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class VirtualClock:
    """Call it for the time; it stands still until `advance` or `to`. Stands in for `time.monotonic`."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves it forward. Raises ValueError for a negative number."""
        self.to(self.now + seconds)

    def to(self, now: float) -> None:
        """Moves it to `now`. Raises ValueError when that has passed."""
        if now < self.now:
            raise ValueError(f"a monotonic clock does not go back from {self.now} to {now}")
        self.now = now
