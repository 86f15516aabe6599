"""What is said of queues."""

from __future__ import annotations

import errno

from procq.engine.view import StateView
from procq.intent import Intent
from procq.state import LogFailure, LogTrouble, Observed, QueueState
from procq.views import About, queue_view
from tests.queues import manifest, queue


def test_a_log_file_that_takes_no_data_is_told_with_the_reason() -> None:
    state = QueueState(trouble={(1, LogFailure.DATA): LogTrouble("/srv/logs/a.log", errno.EACCES, 0)})
    view = StateView(Observed(10.0, {"emails": state}, False), Intent(manifest(queue("emails"))), True, 1, 1, 1)
    told = queue_view(view, "emails", 10.0, About()).problem
    assert told == "/srv/logs/a.log takes no data: Permission denied, 0 bytes lost"
