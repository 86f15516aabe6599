"""FAULTS 48: whatever a manifest has become, an instance that runs says what is wrong with it, and touches nobody."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from procq.client import InvalidManifest, Refused
from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.trials import CI, SEED
from tests.process.support.waiting import until
from tests.unit.manifest.mutations import mutated

pytestmark = pytest.mark.process

MANIFEST = """\
env:
  WHERE: here
defaults:
  stop:
    grace: 2s
queues:
  emails:
    command: sleep 1000
    workers: 3
    env:
      LEVEL: ${LEVEL:-info}
    restart:
      policy: always
      backoff: 1s..30s
  reports:
    command:
      - sleep
      - 2000
    after: emails
    logs:
      file: reports-{slot}.log
"""
SAVED = 20
"""Each so many-th is saved in the place of the manifest, and not only read beside it."""
BROKEN = "\nno_such_key: 1\n"
"""Whatever the accident has made of the rest: with this line it does not load."""


def read_fuzzed_manifests(procq: Procq, times: int, seed: int) -> int:
    """Has the running instance read so many; returns how many of them loaded. Workers stay the same processes."""
    chance, draft = Random(seed), procq.folder / "fuzzed.yaml"
    before, loaded = procq.workers(), 0
    procq.save(MANIFEST + BROKEN)
    until(lambda: procq.status().manifest_error, "the first error")
    for n in range(times):
        text = mutated(MANIFEST, chance, most=8)
        draft.write_bytes(text.encode("utf-8", "surrogateescape"))
        with suppress(InvalidManifest, Refused):
            procq.client.plan(str(draft))
            loaded += 1
        if n % SAVED == 0 and "no_such_key: 1" in (broken := f"{text}{BROKEN}"):
            procq.manifest.write_bytes(broken.encode("utf-8", "surrogateescape"))
        if n % 500 == 0:
            assert procq.workers() == before
    assert procq.workers() == before
    return loaded


def test_faults_48_fuzzed_manifests_leave_every_worker_as_it_was(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(4)
    before, info = procq.workers(), procq.info()
    loaded = read_fuzzed_manifests(procq, CI.fuzzed, SEED)
    assert 0 < loaded < CI.fuzzed, "some accidents are harmless, most are not"
    assert "Traceback" not in procq.said()
    assert procq.info().starts == info.starts, "the control plane did not end"
    procq.save(MANIFEST)
    until(lambda: procq.status().manifest_error is None, "the good one")
    assert procq.workers() == before
    assert processes.zombies_of(info.pid) == []
