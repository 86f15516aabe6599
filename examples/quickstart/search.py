"""Asks the index that the workers build: `python search.py coroutine`."""

from __future__ import annotations

import sys

from jobs import words_database


def main() -> None:
    """Prints the ten files that use the word most."""
    if len(sys.argv) != 2:
        sys.exit("usage: python search.py WORD")
    with words_database() as database:
        rows = database.execute(
            "SELECT count, file FROM words WHERE word = ? ORDER BY count DESC LIMIT 10", (sys.argv[1],)
        ).fetchall()
    for count, file in rows:
        print(f"{count:>6}  {file}")
    if not rows:
        print(f'"{sys.argv[1]}" is in none of the files indexed so far')


if __name__ == "__main__":
    main()
