"""The producer of the quick start: hands the sources of the standard library to both queues, over and over."""

from __future__ import annotations

import random
import time

from jobs import LIBRARY, index, index_queue, shrink, shrink_queue

FILES_A_SECOND = 4
WAITING_AT_MOST = 200
SKIPPED = {"site-packages", "test", "tests", "idlelib", "lib2to3"}


def sources() -> list[str]:
    """The files to work on, relative to the library."""
    found = (path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py"))
    return [str(path) for path in found if not SKIPPED & set(path.parts)]


def main() -> None:
    """Feeds until it is ended; waits while the queues are long, as a polite producer does."""
    files = sources()
    print(f"feeding {len(files):,} files from {LIBRARY}, {FILES_A_SECOND} a second", flush=True)
    while True:
        random.shuffle(files)
        for file in files:
            while max(index_queue.pending_count(), shrink_queue.pending_count()) >= WAITING_AT_MOST:
                time.sleep(1)
            index(file)
            shrink(file)
            # At random, as jobs come in life: a steady beat locks with that of the polling workers, and some starve.
            time.sleep(random.expovariate(FILES_A_SECOND))
        print("every file has been handed out once more", flush=True)


if __name__ == "__main__":
    main()
