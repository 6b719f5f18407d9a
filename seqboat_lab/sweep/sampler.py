"""What proposes a trial's values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from seqboat_lab.sweep.config import SweepConfig
from seqboat_lab.sweep.sampler_config import SAMPLER_CONFIGS, NSGA2Config, RandomSearchConfig, TPEConfig
from seqboat_lab.sweep.seen import as_seen


class TPE(TPESampler):
    def __init__(self, config: TPEConfig, seed: int):
        super().__init__(seed=seed, multivariate=True, n_startup_trials=config.startup_trials)


class NSGA2(NSGAIISampler):
    def __init__(self, config: NSGA2Config, seed: int):
        super().__init__(seed=seed, population_size=config.population_size)


class RandomSearch(RandomSampler):
    def __init__(self, config: RandomSearchConfig, seed: int):
        super().__init__(seed=seed)


class TrialSampler(BaseSampler):
    """An Optuna sampler that is seeded anew by the number of each trial.

    Workers cannot propose the same values then, wherever and whenever they were started, and what a sweep proposes
    depends on the trials finished so far, not on who asks. (Optuna's samplers keep what they learn in the study.)
    At the start the choices of every field are gone through, so that as many as the budget allows are tried.
    """

    def __init__(self, sweep: SweepConfig, attributes: Mapping[str, str]):
        """`attributes` are given to each trial before anything else happens to it."""
        self.config, self.seed, self.attributes = sweep.sampler, sweep.seed, attributes
        self.sampler = self._seeded(0)  # another one for each trial
        distributions = sweep.distributions().items()
        self.choices = {key: d.choices for key, d in distributions if isinstance(d, CategoricalDistribution)}

    def _seeded(self, seed: int) -> BaseSampler:
        return SAMPLER_CONFIGS.implementation(self.config.kind)(self.config, seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        for name, value in self.attributes.items():
            study._storage.set_trial_user_attr(trial._trial_id, name, value)
        entropy = np.random.SeedSequence([self.seed, trial.number])
        self.sampler = self._seeded(int(entropy.generate_state(1)[0]))
        self.sampler.before_trial(study, trial)
        self.fixed = self._untried(study, trial.number)

    def _untried(self, study: optuna.Study, number: int) -> dict[str, Any]:
        """A choice for each field of which some were never tried.

        The first trials go through the choices of every field, in an order that the seed and the number alone decide,
        so that workers cannot take the same. What was missed is taken next: by a trial lost while it asked, or before
        the budget grew to allow for all.
        """
        start = max(map(len, self.choices.values()), default=0)
        trials = [t for t in study.get_trials(deepcopy=False) if t.number < number] if self.choices else []
        found = {}
        for place, (key, values) in enumerate(self.choices.items()):
            tried = {values.index(t.params[key]) for t in trials if key in t.params}
            missing = [i for i in range(len(values)) if i not in tried]
            if number < start:
                rounds, turn = divmod(number, len(values))
                order = np.random.default_rng([self.seed, place, rounds]).permutation(len(values))
                if not missing or order[turn] in missing:
                    found[key] = values[order[turn]]
                    continue
            if missing:
                found[key] = values[missing[number % len(missing)]]
        return found

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(as_seen(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        proposed = self.sampler.sample_relative(as_seen(study), trial, search_space)
        return proposed | {key: value for key, value in self.fixed.items() if key in proposed}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self.fixed:
            return self.fixed[param_name]
        return self.sampler.sample_independent(as_seen(study), trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.sampler.after_trial(study, trial, state, values)
