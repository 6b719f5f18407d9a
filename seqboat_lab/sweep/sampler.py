"""What proposes a trial's values."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from seqboat_lab.sweep.config import SweepConfig

SAMPLERS = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=12),
    "random": lambda seed: RandomSampler(seed=seed),
}


class TrialSampler(BaseSampler):
    """An Optuna sampler that is seeded anew by the number of each trial.

    Workers cannot propose the same values then, wherever and whenever they were started, and what a sweep proposes
    depends on the trials finished so far, not on who asks. (Optuna's samplers keep what they learn in the study.)
    """

    def __init__(self, sweep: SweepConfig, attributes: Mapping[str, str]):
        """`attributes` are given to each trial before anything else happens to it."""
        self.kind, self.seed, self.attributes = sweep.sampler, sweep.seed, attributes
        self.sampler = SAMPLERS[self.kind](self.seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        for name, value in self.attributes.items():
            study._storage.set_trial_user_attr(trial._trial_id, name, value)
        entropy = np.random.SeedSequence([self.seed, trial.number])
        self.sampler = SAMPLERS[self.kind](int(entropy.generate_state(1)[0]))
        self.sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: list[float] | None
    ) -> None:
        self.sampler.after_trial(study, trial, state, values)
