"""Bounds that a trial has to keep, told to Optuna in its own way: its samplers and `best_trials` know them, too."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.study._constrained_optimization import _CONSTRAINTS_KEY

from seqboat_lab.config.checks import require


@dataclass(frozen=True)
class Constraint:
    """What a metric must be at the end of a trial; one that breaks it is never on the front."""

    max: float | None = None
    """Largest value."""
    min: float | None = None
    """Smallest value."""

    def __post_init__(self):
        require(self.max is not None or self.min is not None, "max", self.max, "a number, or min beside it")
        for name in ("max", "min"):
            value = getattr(self, name)
            require(value is None or math.isfinite(value), name, value, "a finite number")
        if self.max is not None and self.min is not None:
            require(self.min <= self.max, "min", self.min, f"at most max = {self.max:g}")


def violations(constraints: Mapping[str, Constraint], metrics: Mapping[str, float]) -> dict[str, float]:
    """How far each bound is broken, above 0, or kept: what Optuna calls a constraint's value, by its name."""
    found = {}
    for metric, constraint in constraints.items():
        if constraint.max is not None:
            found[f"{metric} <= {constraint.max:g}"] = metrics[metric] - constraint.max
        if constraint.min is not None:
            found[f"{metric} >= {constraint.min:g}"] = constraint.min - metrics[metric]
    return found


def unset(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's system attributes without its constraints, for one that goes on: Optuna takes each only once."""
    return {name: value for name, value in attributes.items() if not name.startswith(f"{_CONSTRAINTS_KEY}:")}


def is_broken(values: Mapping[str, float]) -> bool:
    """Is any of the constraints' values above 0?"""
    return any(value > 0 for value in values.values())
