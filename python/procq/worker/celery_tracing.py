"""Celery: the spans of jobs, made in the thread or process that does them, while its main process tells of them.

A worker of a pool of processes uses OpenTelemetry in each of these, set up at `worker_process_init`. So each looks for
itself whether it is in use, after everybody else has heard of that signal.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from celery import signals, states

from procq.worker import Origin, spans
from procq.worker.tracing import API, JobSpan

_FAILED: Final = (states.FAILURE, None)
"""States of an attempt that has failed for good; there is none where its thread is to end."""


def follow(**_: Any) -> None:
    """Celery's jobs in this process have spans from now on, and in those that are forked from it."""
    signals.worker_process_init.connect(_look, weak=False, dispatch_uid="procq")
    _look()


def _look(**_: Any) -> None:
    # Without receivers these signals cost nothing.
    if API in sys.modules:
        signals.task_prerun.connect(_begin, weak=False, dispatch_uid="procq")
        signals.task_postrun.connect(_end, weak=False, dispatch_uid="procq")


def _begin(*, task_id: str, task: Any, **_: Any) -> None:
    request = task.request
    if not request.is_eager:
        destination = (request.delivery_info or {}).get("routing_key") or ""
        # Headers of the message are attributes of the request.
        request.procq_span = spans.begin(task_id, task.name, Origin("celery", destination, vars(request)))


def _end(*, task: Any, state: str | None = None, retval: Any = None, **_: Any) -> None:
    span: JobSpan | None = getattr(task.request, "procq_span", None)
    if span is not None:
        again = state == states.RETRY or (state == states.REJECTED and bool(getattr(retval, "requeue", False)))
        error = type(retval) if isinstance(retval, BaseException) and state in _FAILED else None
        span.end(failed=state in _FAILED, retried=again, error=error)
