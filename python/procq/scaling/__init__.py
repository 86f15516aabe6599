"""From load to a number of workers: what sources say, and the policy, which is pure, that decides."""
