"""How a front is confirmed, and which seeds belong to whom."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import LARGEST_SEED, at_least

MOST_SEARCHED, MOST_CONFIRMED = 100, 1000
"""Seeds of a candidate in the search and in its confirmation."""
APART = 1000
"""Confirmation's seeds follow the experiment's own at this distance, beyond all that a search uses."""


@dataclass(frozen=True)
class ConfirmConfig:
    """After the budget is used up, candidates run again at full length with seeds that the search never saw, and their
    best checkpoints are evaluated: the best of many noisy measurements is the luckiest, and only new ones tell."""

    seeds: int = 5
    """Runs of each candidate: more narrow the intervals, and cost as much again."""
    split: Literal["test", "val"] = "test"
    """What the best checkpoints are evaluated on."""
    of: Literal["front", "all"] = "front"
    """Which candidates: `front`, with those within one standard error of it (with one seed a candidate, none is known:
    the front alone), or `all` that ran to their end."""

    def __post_init__(self):
        at_least(self, "seeds", 1, MOST_CONFIRMED)


def search_seeds(first: int, count: int) -> list[int]:
    """The seeds of a candidate in the search; `first` is the experiment's."""
    return [(first + i) % (LARGEST_SEED + 1) for i in range(count)]


def confirm_seeds(first: int, count: int) -> list[int]:
    """The seeds of a candidate in its confirmation: none that a search uses."""
    return [(first + APART + 1 + i) % (LARGEST_SEED + 1) for i in range(count)]
