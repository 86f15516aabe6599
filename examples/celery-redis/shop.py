"""The Celery application of the example: receipts by e-mail, and thumbnails of photos.

Everything is written next to this file: letters into the Maildir `outbox/`, pictures into `thumbnails/`, and two lines
a job into `ledger.txt`, so that anybody can count that each job was done once.
"""

from __future__ import annotations

import mailbox
import os
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

from celery import Celery
from pictures import read_ppm, shrink, write_png

HERE = Path(__file__).resolve().parent
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")

app = Celery("shop", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(
    task_routes={"shop.receipt": {"queue": "emails"}, "shop.thumbnail": {"queue": "thumbnails"}},
    task_acks_late=True,  # a job leaves Redis when it is done, not when it is begun
    worker_prefetch_multiplier=1,  # no worker hoards jobs that another could do
    broker_connection_retry_on_startup=True,
)


@app.task(name="shop.receipt")
def receipt(order: str, address: str, total: str) -> str:
    """Writes the letter for one order into the outbox and returns its key there."""
    with _entered(f"receipt {order}"):
        letter = EmailMessage()
        letter["From"], letter["To"], letter["Subject"] = "shop@example.org", address, f"Your order {order}"
        letter.set_content(f"Thank you for your order {order}. The total is {total}.\n")
        return str(mailbox.Maildir(HERE / "outbox").add(letter))


@app.task(name="shop.thumbnail")
def thumbnail(photo: str, width: int = 64) -> list[int]:
    """Makes a small PNG of `photos/PHOTO`, a binary PPM, and returns its width and height."""
    with _entered(f"thumbnail {photo}"):
        small = shrink(read_ppm((HERE / "photos" / photo).read_bytes()), width)
        target = HERE / "thumbnails" / f"{Path(photo).stem}.png"
        target.parent.mkdir(exist_ok=True)
        half_done = target.with_suffix(f".{os.getpid()}")
        half_done.write_bytes(write_png(small))
        half_done.rename(target)
        return [small.width, small.height]


@contextmanager
def _entered(job: str) -> Iterator[None]:
    _enter(f"began {job}")
    yield
    _enter(f"done {job}")


def _enter(what: str) -> None:
    """One line in one write to the end of the file: lines of several processes do not mix."""
    line = f"{os.environ.get('PROCQ_WORKER_ID', '-')} {os.getpid()} {what}"
    with (HERE / "ledger.txt").open("a") as ledger:
        ledger.write(f"{line}\n")
    print(line, flush=True)
