"""procq."""
