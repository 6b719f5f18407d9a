"""What proposes a trial's values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
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
    Where the budget allows, every choice of every field is tried at least once, at the start.
    """

    def __init__(self, sweep: SweepConfig, attributes: Mapping[str, str]):
        """`attributes` are given to each trial before anything else happens to it."""
        self.kind, self.seed, self.attributes = sweep.sampler, sweep.seed, attributes
        self.sampler = SAMPLERS[self.kind](0)  # another one for each trial
        choices = {key: d.choices for key, d in sweep.distributions().items() if isinstance(d, CategoricalDistribution)}
        self.choices = {key: values for key, values in choices.items() if len(values) <= sweep.trials}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        for name, value in self.attributes.items():
            study._storage.set_trial_user_attr(trial._trial_id, name, value)
        entropy = np.random.SeedSequence([self.seed, trial.number])
        self.sampler = SAMPLERS[self.kind](int(entropy.generate_state(1)[0]))
        self.sampler.before_trial(study, trial)
        self.fixed = self._untried(study, trial.number)

    def _untried(self, study: optuna.Study, number: int) -> dict[str, Any]:
        """A choice for each field of which some were never tried.

        The first trials go through the choices of every field, in an order that the seed and the number alone decide,
        so that workers cannot take the same. Later ones take what was missed, as by a trial lost while it asked.
        """
        start = max(map(len, self.choices.values()), default=0)
        trials = study.get_trials(deepcopy=False) if number >= start else []
        found = {}
        for place, (key, values) in enumerate(self.choices.items()):
            if number < start:
                rounds, turn = divmod(number, len(values))
                order = np.random.default_rng([self.seed, place, rounds]).permutation(len(values))
                found[key] = values[order[turn]]
                continue
            tried = {values.index(t.params[key]) for t in trials if key in t.params and t.number < number}
            if missing := [v for i, v in enumerate(values) if i not in tried]:
                found[key] = missing[number % len(missing)]
        return found

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        proposed = self.sampler.sample_relative(study, trial, search_space)
        return proposed | {key: value for key, value in self.fixed.items() if key in proposed}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self.fixed:
            return self.fixed[param_name]
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.sampler.after_trial(study, trial, state, values)
