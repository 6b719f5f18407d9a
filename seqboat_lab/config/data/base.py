"""What the data of every task has."""

from dataclasses import dataclass

from seqboat_lab.config.checks import at_least, expand_path

LONGEST = 2**24
"""Tokens of a sequence that a configuration may ask for."""
MOST_SAMPLES = 10**8
"""Samples of a split that are made."""


@dataclass(frozen=True)
class DataConfig:
    """What every task has."""

    root: str = "data"
    """Directory that holds all tasks' files."""
    batch_size: int = 64
    """Sequences per optimiser update, over all devices and accumulated batches together."""
    num_workers: int = 0
    """Loader processes; 0 loads in the training process."""

    def __post_init__(self):
        expand_path(self, "root")
        at_least(self, "batch_size", 1, 2**20)
        at_least(self, "num_workers", 0, 1024)
