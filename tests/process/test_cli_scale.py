"""`procq scale --save`: the number goes into the file, and no worker notices."""

from __future__ import annotations

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

MANIFEST = """\
# Workers of the shop
queues:
  a:
    command: sleep 1000   # a's
    workers:   2    # two
  b:
    command: sleep 1000
    workers: ${HOW_MANY:-1}
  c:
    command: sleep 1000
    workers: 1..3
"""


def test_a_number_is_saved_and_the_queue_follows_the_file_again(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(4)
    before = procq.workers()
    said = procq.command("scale", "a=4", "--save")
    assert "a   2 → 4 workers\na   4 workers, saved in procq.yaml\n" in said
    assert procq.manifest.read_text() == MANIFEST.replace("workers:   2 ", "workers:   4 ")
    queue = procq.queue("a")
    assert (queue.override, queue.manifest_workers, queue.desired) == (None, 4, 4)
    after = procq.wait_running(6)
    assert {worker: after[worker] for worker in before} == before
    assert "is overridden" not in procq.command("status")
    # The second time there is nothing to write, and what was changed by hand can be saved afterwards.
    procq.command("scale", "a=+1")
    assert "a is overridden to 5 (manifest says 4)" in procq.command("status")
    assert "a   5 workers, saved in procq.yaml" in procq.command("scale", "a", "--save")
    assert "a   5 workers, as before   as the manifest says; there is nothing to save" in procq.command(
        "scale", "a=auto", "--save"
    )
    assert procq.manifest.read_text() == MANIFEST.replace("workers:   2 ", "workers:   5 ")
    kept = procq.wait_running(7)
    assert {worker: kept[worker] for worker in after} == after
    generations = [each.generation or 0 for each in procq.status().workers]
    assert max(generations) == 7, "no worker came and went on the way"


def test_a_number_that_cannot_be_saved_stays_in_force_without_the_file(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(4)
    said = procq.command("scale", "b=3", "c=+1", "a=1", "--save", code=1)
    assert "${HOW_MANY:-1}" in said and "range 1..3" in said
    assert "b   3 workers all the same, without the file" in said
    assert "a   1 worker, saved in procq.yaml" in said, "the others are saved"
    assert procq.manifest.read_text() == MANIFEST.replace("workers:   2 ", "workers:   1 ")
    assert {queue.name: queue.override for queue in procq.status().queues} == {"a": None, "b": 3, "c": 2}
    procq.wait_running(6)
    assert "b is overridden to 3 (manifest says 1)" in procq.command("status")


def test_nothing_is_saved_in_a_file_that_does_not_load(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(4)
    broken = MANIFEST + "  d:\n    comand: true\n"
    procq.save(broken)
    until(lambda: procq.status().manifest_error, "the mistake to be seen")
    said = procq.command("scale", "a=3", "--save", code=1)
    assert "not in force, so nothing was written" in said
    assert procq.manifest.read_text() == broken
    assert procq.queue("a").override == 3
