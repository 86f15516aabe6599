"""The application: every route in one table."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from procq.api import decisions, events, metrics, plan, queues, restarts, status, workers
from procq.api.control import Control
from procq.api.problems import on_disconnect, on_fault, on_http_error, on_no_intent, on_procq_error
from procq.errors import ProcqError
from procq.intent import NoIntent

ROUTES = [
    Route("/healthz", status.get_health, methods=["GET"]),
    Route("/metrics", metrics.get_metrics, methods=["GET"]),
    Route("/v1/status", status.get_status, methods=["GET"]),
    Route("/v1/queues", queues.list_queues, methods=["GET"]),
    Route("/v1/queues/{name}", queues.get_queue, methods=["GET"]),
    Route("/v1/queues/{name}", queues.patch_queue, methods=["PATCH"]),
    Route("/v1/workers", workers.list_workers, methods=["GET"]),
    Route("/v1/workers", workers.patch_workers, methods=["PATCH"]),
    Route("/v1/workers/{id}", workers.get_worker, methods=["GET"]),
    Route("/v1/restarts", restarts.create_restart, methods=["POST"]),
    Route("/v1/decisions", decisions.get_decisions, methods=["GET"]),
    Route("/v1/plan", plan.get_plan, methods=["GET"]),
    Route("/v1/events", events.stream_events, methods=["GET"]),
]


def create_app(control: Control) -> Starlette:
    """The API of one control plane."""
    handlers = {
        ProcqError: on_procq_error,
        HTTPException: on_http_error,
        NoIntent: on_no_intent,
        ClientDisconnect: on_disconnect,
        Exception: on_fault,
    }
    app = Starlette(routes=ROUTES, exception_handlers=handlers)
    app.state.control = control
    return app
