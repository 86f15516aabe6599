"""Procrastinate on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.pausing import pause_and_resume
from tests.adapters.trial import crew, stand, wait
from tests.servers.postgres import postgres

pytestmark = [pytest.mark.adapters, pytest.mark.process]

COMMAND = "procrastinate --app=procrastinate_jobs.app worker"
SCHEMA = """
from procrastinate_jobs import app
with app.open():
    app.schema_manager.apply_schema()
"""
SEND = """
import sys
from procrastinate_jobs import app, work
first, last = map(int, sys.argv[1:])
with app.open():
    work.batch_defer(*({"job": n} for n in range(first, last + 1)))
"""
ODD = """
from procrastinate_jobs import app, sleepy, work
import time
with app.open():
    app.configure_task("nothing", allow_unknown=True).defer()
    slow = sleepy.defer()
    work.defer(job=2)
    time.sleep(2)
    app.job_manager.cancel_job_by_id(slow, abort=True)
"""


def test_every_job_is_done_once(tmp_path: Path) -> None:
    with postgres() as found, crew(tmp_path, COMMAND, {"POSTGRES": found}) as made:
        made.python(SCHEMA)
        stand(made, lambda first, last: made.python(SEND, str(first), str(last)))


def test_what_cannot_be_done_is_over_too(tmp_path: Path) -> None:
    with postgres() as found, crew(tmp_path, COMMAND, {"POSTGRES": found}) as made:
        made.python(SCHEMA)
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        made.python(ODD)
        wait("three jobs", lambda: made.queue().jobs == 3, made)
        said = made.queue()
        assert (said.busy, said.jobs_failed, said.jobs_retried) == (0, 2, 0), made.output()


def test_a_paused_queue_rests_and_goes_on(tmp_path: Path) -> None:
    with postgres() as found, crew(tmp_path, COMMAND, {"POSTGRES": found}) as made:
        made.python(SCHEMA)
        pause_and_resume(made, lambda first, last: made.python(SEND, str(first), str(last)))
