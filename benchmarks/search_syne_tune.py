"""The rule of Syne Tune's MO-ASHA (version 0.16), as it is there and with its ranks mended, over our rungs.

Syne Tune is in no lock file: install it anywhere, and put its packages on PYTHONPATH. Its `NonDominatedPriority` gives
the places of the trials in the order of their ranks, where its `Bracket` expects the rank of each. So what is compared
with n / eta is the place of the worst trial: whatever else the trial in question is, it goes on if the worst so far was
among the first third.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from syne_tune.optimizer.schedulers.asha import Bracket
from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import NonDominatedPriority

from seqboat_lab.sweep.stopping.config import SuccessiveHalvingConfig
from seqboat_lab.sweep.stopping.rules import SuccessiveHalving, Values


class Mended(NonDominatedPriority):
    """Each trial's rank."""

    def priority_unsafe(self, objectives: np.ndarray) -> np.ndarray:
        return np.argsort(super().priority_unsafe(objectives))


@dataclass(frozen=True)
class SyneTuneConfig(SuccessiveHalvingConfig):
    rule: str = "benchmarks.search_syne_tune:SyneTune"  # type: ignore[assignment]
    mended: bool = False


class SyneTune(SuccessiveHalving):
    Config = SyneTuneConfig
    config: SyneTuneConfig

    def stops(self, values: Values, others: Sequence[Values]) -> bool:
        """What their bracket says of a trial with `values` at a rung where it has recorded the others."""
        bracket = Bracket(1, 1, self.config.eta, 0, Mended() if self.config.mended else NonDominatedPriority())
        bracket.rungs = [(1, {i: self._losses(other) for i, other in enumerate(others)})]
        return bracket.on_result(len(others), 1, self._losses(values)) == "STOP"

    def goes_on(self, *_) -> list[int]:
        return []

    def _losses(self, values: Values) -> dict[str, float]:
        signed = (-x if up else x for x, up in zip(values, self.maximize, strict=True))
        return {f"objective {i}": x for i, x in enumerate(signed)}


RULES = {
    "Syne Tune": SyneTuneConfig(),
    "Syne Tune, ranks mended": SyneTuneConfig(mended=True),
}
