"""A share that looks random and is always the same: what would happen at once happens one after another. Pure."""

from __future__ import annotations

from hashlib import blake2b


def share(of: str) -> float:
    """A number from 0 up to 1, spread evenly over different texts."""
    digest = blake2b(of.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
