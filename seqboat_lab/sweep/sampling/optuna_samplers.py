"""The samplers by name: Optuna's, each made from its settings and a seed."""

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler, NSGAIIISampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from seqboat_lab.sweep.definition.samplers import (
    GPConfig,
    GridConfig,
    NSGA2Config,
    NSGA3Config,
    QMCConfig,
    RandomSearchConfig,
    TPEConfig,
)


class TPE(TPESampler):
    def __init__(self, config: TPEConfig, seed: int):
        # grouped: fields that are searched under the same conditions are modelled together
        super().__init__(seed=seed, multivariate=True, group=True, n_startup_trials=config.startup_trials)


class NSGA2(NSGAIISampler):
    def __init__(self, config: NSGA2Config, seed: int):
        super().__init__(seed=seed, population_size=config.population_size)


class NSGA3(NSGAIIISampler):
    def __init__(self, config: NSGA3Config, seed: int):
        super().__init__(seed=seed, population_size=config.population_size)


class GP(GPSampler):
    def __init__(self, config: GPConfig, seed: int):
        super().__init__(seed=seed, n_startup_trials=config.startup_trials, warn_independent_sampling=False)


class QMC(QMCSampler):
    """One point of the sequence that `seed` scrambles, over the whole space.

    Optuna's counts its points in the study, and learns the space from the first trial, which would depend on who asks
    when, and leave out conditional fields.
    """

    def __init__(self, config: QMCConfig, seed: int):
        super().__init__(seed=seed, scramble=True, warn_independent_sampling=False)
        self.point = 0
        self.space: dict[str, BaseDistribution] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self.space)

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self.point


class RandomSearch(RandomSampler):
    def __init__(self, config: RandomSearchConfig, seed: int):
        super().__init__(seed=seed)


class Grid(RandomSampler):
    """What a grid falls back to; its cells are given by `plan`."""

    def __init__(self, config: GridConfig, seed: int):
        super().__init__(seed=seed)
