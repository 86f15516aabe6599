"""From load to a number of workers: what sources say, and the policy that decides. The policy is pure; sources are not."""
