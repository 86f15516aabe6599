"""The planner: pure functions from what is wanted and what is observed to actions."""

from procq.plan.actions import (
    Action,
    Configure,
    Delay,
    Forget,
    MarkReady,
    Park,
    Plan,
    QueuePlan,
    Reason,
    Retire,
    Spawn,
    Stop,
)
from procq.plan.planner import plan, plan_queue

__all__ = [
    "Action",
    "Configure",
    "Delay",
    "Forget",
    "MarkReady",
    "Park",
    "Plan",
    "QueuePlan",
    "Reason",
    "Retire",
    "Spawn",
    "Stop",
    "plan",
    "plan_queue",
]
