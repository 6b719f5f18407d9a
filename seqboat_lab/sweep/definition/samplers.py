"""The samplers of a sweep: one dataclass per kind, listed in `SAMPLER_CONFIGS`."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least
from seqboat_lab.config.components import Components

LARGEST_POPULATION = 100_000


@dataclass(frozen=True)
class TPEConfig:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), with all fields that are searched together modelled
    together. Good with choices, conditions and small budgets."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: int = 10
    """Trials drawn at random before the model proposes any."""

    def __post_init__(self):
        at_least(self, "startup_trials", 0)


@dataclass(frozen=True)
class NSGA2Config:
    """Genetic search by non-domination rank and crowding (Deb et al. 2002). Conditional fields are drawn at random."""

    kind: Literal["nsga2"] = "nsga2"
    population_size: int = 12
    """Trials of a generation: more explore wider, fewer converge sooner."""

    def __post_init__(self):
        at_least(self, "population_size", 2, LARGEST_POPULATION)


@dataclass(frozen=True)
class NSGA3Config:
    """Genetic search by non-domination rank and reference directions (Deb & Jain 2014), for three objectives or more.
    Conditional fields are drawn at random."""

    kind: Literal["nsga3"] = "nsga3"
    population_size: int = 12
    """Trials of a generation: more explore wider, fewer converge sooner."""

    def __post_init__(self):
        at_least(self, "population_size", 2, LARGEST_POPULATION)


@dataclass(frozen=True)
class GPConfig:
    """Bayesian optimisation with Gaussian processes: expected improvement of the value, or of the hypervolume. Best in
    a handful of numbers; its own time grows with the cube of the trials. Conditional fields are drawn at random."""

    kind: Literal["gp"] = "gp"
    startup_trials: int = 10
    """Trials drawn at random before the model proposes any."""

    def __post_init__(self):
        at_least(self, "startup_trials", 1)


@dataclass(frozen=True)
class QMCConfig:
    """Scrambled Sobol points (Owen 1998): random search that leaves no holes. Its first 2^k trials spread best."""

    kind: Literal["qmc"] = "qmc"


@dataclass(frozen=True)
class RandomSearchConfig:
    """Values drawn independently."""

    kind: Literal["random"] = "random"


@dataclass(frozen=True)
class GridConfig:
    """Every configuration once, in the order of the file; ranges need a step, unless they are of whole numbers. The
    budget is its size."""

    kind: Literal["grid"] = "grid"


@dataclass(frozen=True)
class SamplerConfig:
    """Settings of a sampler from outside: derive from it, add fields, and name it `Config` in the sampler's class."""

    kind: str
    """`package.module:Class` of an Optuna sampler that is made from its settings and a seed."""


AnySamplerConfig = (
    TPEConfig | NSGA2Config | NSGA3Config | GPConfig | QMCConfig | RandomSearchConfig | GridConfig | SamplerConfig
)

SAMPLER_CONFIGS = Components(
    "sampler",
    {
        "tpe": (TPEConfig, "seqboat_lab.sweep.sampling.optuna_samplers:TPE"),
        "nsga2": (NSGA2Config, "seqboat_lab.sweep.sampling.optuna_samplers:NSGA2"),
        "nsga3": (NSGA3Config, "seqboat_lab.sweep.sampling.optuna_samplers:NSGA3"),
        "gp": (GPConfig, "seqboat_lab.sweep.sampling.optuna_samplers:GP"),
        "qmc": (QMCConfig, "seqboat_lab.sweep.sampling.optuna_samplers:QMC"),
        "random": (RandomSearchConfig, "seqboat_lab.sweep.sampling.optuna_samplers:RandomSearch"),
        "grid": (GridConfig, "seqboat_lab.sweep.sampling.optuna_samplers:Grid"),
    },
)
