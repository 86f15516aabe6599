"""Queues, workers and sources in virtual time, for the policy that scales them in production: nothing of it is real."""
