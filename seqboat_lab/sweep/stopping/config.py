"""The rules that stop a sweep's trials early: one dataclass per rule, listed in `STOPPING_CONFIGS`."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least, fraction, require
from seqboat_lab.config.components import Components

LATEST = 0.5
"""Share of training after which no rung lies: stopping there would save little, and cost a finished trial."""


@dataclass(frozen=True)
class DominatedConfig:
    """A trial is stopped at a validation if enough trials were measured at that step and more than a share of them
    dominate it: no worse in every objective, better in one. It never goes on."""

    rule: Literal["dominated"] = "dominated"
    min_trials: int = 6
    """Trials that must have been measured at the same step."""
    dominated_by: float = 0.5
    """Share of those that must dominate the trial."""

    def __post_init__(self):
        at_least(self, "min_trials", 1)
        fraction(self, "dominated_by")


@dataclass(frozen=True)
class SuccessiveHalvingConfig:
    """Asynchronous successive halving by non-domination rank, ties broken by hypervolume (after Schmucker et al. 2021,
    arXiv 2106.12639).

    A trial goes on past a rung if it is within the best 1/eta of what was measured there so far, and a stopped one goes
    on from its checkpoint once it is.
    """

    rule: Literal["successive_halving"] = "successive_halving"
    eta: int = 3
    """One of so many trials goes on past a rung, and rungs lie so much further apart: more saves more updates, and
    trusts early measurements more."""
    first: float = 0.2
    """Share of training at the first rung, up to 0.5; the others follow at eta, eta^2, ... times this, up to 0.5.
    Earlier saves more updates, and stops by luck where little is learnt yet (docs/results_search.md)."""

    def __post_init__(self):
        at_least(self, "eta", 2, 1000)
        require(0 < self.first <= LATEST, "first", self.first, f"a share of training above 0, up to {LATEST}")


@dataclass(frozen=True)
class StoppingConfig:
    """Settings of a rule from outside: derive from it, add fields, and name it `Config` in the rule's class."""

    rule: str
    """`package.module:Class` of a rule that derives from `seqboat_lab.sweep.stopping.rules:StoppingRule`."""


AnyStoppingConfig = DominatedConfig | SuccessiveHalvingConfig | StoppingConfig

STOPPING_CONFIGS = Components(
    "stopping rule",
    {
        "dominated": (DominatedConfig, "seqboat_lab.sweep.stopping.rules:Dominated"),
        "successive_halving": (SuccessiveHalvingConfig, "seqboat_lab.sweep.stopping.rules:SuccessiveHalving"),
    },
)
