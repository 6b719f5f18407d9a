"""What proposes a trial's values."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseGASampler, BaseSampler
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.definition.samplers import SAMPLER_CONFIGS
from seqboat_lab.sweep.sampling.optuna_samplers import QMC, Grid
from seqboat_lab.sweep.sampling.queue import FIXED, planned
from seqboat_lab.sweep.sampling.seen import CONTINUES, as_seen


class TrialSampler(BaseSampler):
    """An Optuna sampler that is seeded anew by the number of each trial.

    Workers cannot propose the same values then, wherever and whenever they were started, and what a sweep proposes
    depends on the trials finished so far, not on who asks. (Optuna's samplers keep what they learn in the study.)
    Start points come first, as do all cells of a grid. Then the choices of every field are gone through, so that as
    many as the budget allows are tried.
    """

    def __init__(self, sweep: SweepConfig, attributes: Mapping[str, str]):
        """`attributes` are given to each trial before anything else happens to it."""
        self.config, self.seed, self.attributes = sweep.sampler, sweep.seed, attributes
        self.space = sweep.search_space()
        self.start = sweep.start_points(self.space)
        self.sampler = self._seeded([self.seed])  # another one for each trial
        self.cells = self.space.cells() if isinstance(self.sampler, Grid) else None
        distributions = self.space.distributions.items()
        self.choices = {key: d.choices for key, d in distributions if isinstance(d, CategoricalDistribution)}

    def _seeded(self, entropy: Sequence[int]) -> BaseSampler:
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        with warnings.catch_warnings():  # of those that Optuna calls experimental, what we use is tested
            warnings.simplefilter("ignore", ExperimentalWarning)
            return SAMPLER_CONFIGS.implementation(self.config.kind)(self.config, seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self.attributes and is_heartbeat_enabled(study._storage):  # before the name: who has one gives signs of life
            cast(BaseHeartbeat, study._storage).record_heartbeat(trial._trial_id)
        for name, value in self.attributes.items():
            study._storage.set_trial_user_attr(trial._trial_id, name, value)
        trials = study.get_trials(deepcopy=False)
        if isinstance(self.sampler, QMC):  # the next point of one sequence
            self.sampler.space = self.space.distributions
            drawn = [t for t in trials if FIXED not in t.system_attrs and CONTINUES not in t.user_attrs]
            self.sampler.point = sum(t.number < trial.number for t in drawn)
        else:
            self.sampler = self._seeded([self.seed, trial.number])
        self.sampler.before_trial(study, trial)
        if isinstance(self.sampler, BaseGASampler):  # a trial that was queued again belongs to a generation, too
            self.sampler.get_trial_generation(as_seen(study), trial)
        self.fixed = dict(planned(self.start, self.cells, self.space, trials, trial))
        if not self.fixed and not isinstance(self.sampler, QMC):
            self.fixed = self._untried([t for t in trials if t.number < trial.number], trial.number)

    def _untried(self, trials: Sequence[FrozenTrial], number: int) -> dict[str, Any]:
        """A choice for each field of which some were never tried.

        The first trials go through the choices of every field, in an order that the seed and the number alone decide,
        so that workers cannot take the same. What was missed is taken next: by a trial lost while it asked, or before
        the budget grew to allow for all. A conditional field brings the values that it needs of the others.
        """
        start = max(map(len, self.choices.values()), default=0)
        found: dict[str, Any] = {}
        for place, (key, values) in enumerate(self.choices.items()):
            tried: set[int] = set()
            for trial in trials:
                if len(tried) == len(values):
                    break
                if key in trial.params:
                    tried.add(values.index(trial.params[key]))
            missing = [i for i in range(len(values)) if i not in tried]
            needed = self.space.conditions[key]
            if any(other in found and found[other] not in allowed for other, allowed in needed.items()):
                continue
            if number < start:
                rounds, turn = divmod(number, len(values))
                order = np.random.default_rng([self.seed, place, rounds]).permutation(len(values))
                if not missing or order[turn] in missing:
                    found[key] = values[order[turn]]
            if missing and key not in found:
                found[key] = values[missing[number % len(missing)]]
            if missing:
                found = {other: allowed[number % len(allowed)] for other, allowed in needed.items()} | found
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
