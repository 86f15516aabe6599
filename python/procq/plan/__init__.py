"""The planner: pure functions from what is wanted and what is observed to actions."""
