"""Looks after workers that run: asks them whether they are ready and healthy, and at what they use. Decides nothing.

What is found out goes to the engine as an event, like what the keeper reports; the planner draws the conclusions.
"""

from procq.monitor.prober import Prober
from procq.monitor.sampler import Sampler

__all__ = ["Prober", "Sampler"]
