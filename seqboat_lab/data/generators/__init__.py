"""From (seed, index) to samples: deterministic, in parallel, the same for any number of processes."""
