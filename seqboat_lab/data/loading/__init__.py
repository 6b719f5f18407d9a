"""From samples to batches: stores, order, segments, the DataModule that all tasks share."""
