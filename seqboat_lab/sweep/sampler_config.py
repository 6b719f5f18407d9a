"""The samplers of a sweep: one dataclass per kind, listed in `SAMPLER_CONFIGS`."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least
from seqboat_lab.config.components import Components


@dataclass(frozen=True)
class TPEConfig:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), with all fields modelled together."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: int = 10
    """Trials drawn at random before the model proposes any."""

    def __post_init__(self):
        at_least(self, "startup_trials", 0)


@dataclass(frozen=True)
class NSGA2Config:
    """Genetic search by non-domination rank and crowding (Deb et al. 2002)."""

    kind: Literal["nsga2"] = "nsga2"
    population_size: int = 12
    """Trials of a generation: more explore wider, fewer converge sooner."""

    def __post_init__(self):
        at_least(self, "population_size", 2, 100_000)


@dataclass(frozen=True)
class RandomSearchConfig:
    """Values drawn independently."""

    kind: Literal["random"] = "random"


@dataclass(frozen=True)
class SamplerConfig:
    """Settings of a sampler from outside: derive from it, add fields, and name it `Config` in the sampler's class."""

    kind: str
    """`package.module:Class` of an Optuna sampler that is made from its settings and a seed."""


AnySamplerConfig = TPEConfig | NSGA2Config | RandomSearchConfig | SamplerConfig

SAMPLER_CONFIGS = Components(
    "sampler",
    {
        "tpe": (TPEConfig, "seqboat_lab.sweep.sampler:TPE"),
        "nsga2": (NSGA2Config, "seqboat_lab.sweep.sampler:NSGA2"),
        "random": (RandomSearchConfig, "seqboat_lab.sweep.sampler:RandomSearch"),
    },
)
