"""The producer: `python order.py 20` places 20 orders, each a photo and a receipt, and waits until all is done.

`python order.py 4 12` takes photos of 12 megapixels: slow jobs, in which there is time to change the manifest.
"""

from __future__ import annotations

import random
import sys
import time

from celery.result import ResultSet
from pictures import Picture, write_ppm
from shop import HERE, receipt, thumbnail


def photograph(name: str, megapixels: float) -> None:
    """Writes a photo of noise, four to three, into `photos/`."""
    height = int((megapixels * 1_000_000 * 3 / 4) ** 0.5)
    width = height * 4 // 3
    picture = Picture(width, height, random.randbytes(width * height * 3))
    (HERE / "photos").mkdir(exist_ok=True)
    (HERE / "photos" / name).write_bytes(write_ppm(picture))


def main() -> None:
    """Places the orders; exits with 1 if a job fails."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    megapixels = float(sys.argv[2]) if len(sys.argv) > 2 else 0.05
    start, run = time.monotonic(), f"{time.time_ns():x}"
    jobs = []
    for number in range(1, count + 1):
        order = f"{run}-{number}"
        photograph(f"{order}.ppm", megapixels)
        jobs.append(thumbnail.delay(f"{order}.ppm"))
        jobs.append(receipt.delay(order, f"customer{number}@example.org", f"{number * 3}.50"))
    print(f"{count} orders placed; waiting for {len(jobs)} jobs", flush=True)
    # A set of them all: Celery would miss what is done already when it is added to a set one by one.
    ResultSet(jobs).get()
    print(f"{len(jobs)} jobs done in {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
