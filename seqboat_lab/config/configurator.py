"""The latent configurator's part of a model: one dataclass per kind, listed in `CONFIGURATOR_CONFIGS`."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least, fraction, positive, require, seed
from seqboat_lab.config.components import Components

COLDEST, HOTTEST = 1e-4, 1e4
"""Temperatures outside are a step function, or a constant: neither passes a gradient."""


@dataclass(frozen=True)
class TemperedSoftmaxConfig:
    """The paper's latent configurator: argmax decision, softmax confidence."""

    kind: Literal["tempered_softmax"] = "tempered_softmax"
    temperature_scale: float = 1.0
    """c: the temperature starts at c * sqrt(d_model); small values decide sharply and early."""
    learn_temperature: bool = True
    """False: it stays where it starts."""

    def __post_init__(self):
        positive(self, "temperature_scale", COLDEST, HOTTEST)


@dataclass(frozen=True)
class GumbelSoftmaxConfig:
    """Straight-through Gumbel softmax (Jang et al. 2017, arXiv 1611.01144): sampled while training, argmax after."""

    kind: Literal["gumbel_softmax"] = "gumbel_softmax"
    initial_temperature: float = 2.0
    """Temperature of the first training batch: high values pass gradients to undecided tokens."""
    final_temperature: float = 0.5
    """Temperature from `anneal_steps` on; it falls exponentially before."""
    anneal_steps: int = 1000
    """Training batches until `final_temperature`."""

    def __post_init__(self):
        for name in ("final_temperature", "initial_temperature"):
            positive(self, name, COLDEST, HOTTEST)
        low, high = self.final_temperature, self.initial_temperature
        require(high >= low, "initial_temperature", high, f"at least final_temperature = {low}")
        at_least(self, "anneal_steps", 1)


@dataclass(frozen=True)
class SigmoidConfig:
    """One logit per token: active if sigmoid(u) > 0.5, with that confidence; no temperature."""

    kind: Literal["sigmoid"] = "sigmoid"


@dataclass(frozen=True)
class AlwaysConfig:
    """Every token is active with confidence 1: Mega with a sliding window."""

    kind: Literal["always"] = "always"


@dataclass(frozen=True)
class NeverConfig:
    """No token is active: the SSM and the skip path alone."""

    kind: Literal["never"] = "never"


@dataclass(frozen=True)
class RandomConfig:
    """Positions drawn once and for all, whatever the input: a baseline for learned decisions."""

    kind: Literal["random"] = "random"
    rate: float = 0.5
    """Share of active positions, from 0 to 1."""
    seed: int = 0
    """Which positions: a hash of seed, layer and position decides."""

    def __post_init__(self):
        fraction(self, "rate")
        seed(self)


@dataclass(frozen=True)
class EveryKthConfig:
    """Positions 0, k, 2k, ... are active, whatever the input: a baseline for learned decisions."""

    kind: Literal["every_kth"] = "every_kth"
    k: int = 2
    """Distance between active positions; the activation rate is 1/k."""

    def __post_init__(self):
        at_least(self, "k", 1, 2**24)


@dataclass(frozen=True)
class CapacityConfig(TemperedSoftmaxConfig):
    """A dial for the activation rate: active is what exceeds a threshold that follows the evidence's quantile.

    Like Mixture-of-Depths (arXiv 2404.02258) it keeps a budget, but a threshold looks at no later token as top-k does.
    """

    kind: Literal["capacity"] = "capacity"  # type: ignore[assignment]  # another kind with the same fields
    rate: float = 0.3
    """Share of the real tokens that is active in the end."""
    budget: Literal["layer", "model"] = "layer"
    """Whose tokens the rate is a share of: `layer`, each layer's own; `model`, all layers' together, by one threshold,
    so that a layer that needs little attention leaves its part to others."""
    start_rate: float = 1.0
    """Share while training is young: what attention is good for is learnt best where it is everywhere."""
    anneal_from: float = 0.4
    """Share of training after which the rate leaves `start_rate`; later leaves more time to learn so."""
    anneal_to: float = 0.8
    """Share of training at which it arrives at `rate`, in a straight line; later leaves less time to adapt."""
    start_confidence: float = 0.9
    """Confidence of tokens that the router has no opinion of, as all at first. Near 1, attention is learnt as fast as
    with `always`; at 1/2, as in the paper, it is at first as weak as that."""
    momentum: float = 0.5
    """How much of the threshold stays with each training batch; more is steadier, less follows faster. In the last
    tenth of training it grows, so that small batches end with the rate too."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("rate", "start_rate", "anneal_from", "anneal_to", "momentum"):
            fraction(self, name)
        low = self.anneal_from
        require(self.anneal_to >= low, "anneal_to", self.anneal_to, f"at least anneal_from = {low}")
        require(self.momentum < 1, "momentum", self.momentum, "a number below 1")
        start = self.start_confidence
        require(0 < start < 1, "start_confidence", start, "a number between 0 and 1")


@dataclass(frozen=True)
class ConfiguratorConfig:
    """Settings of a configurator from outside: derive from it, add fields, and name it `Config` in its class."""

    kind: str
    """`package.module:Class` of the configurator."""


AnyConfiguratorConfig = (
    TemperedSoftmaxConfig
    | CapacityConfig
    | GumbelSoftmaxConfig
    | SigmoidConfig
    | AlwaysConfig
    | NeverConfig
    | RandomConfig
    | EveryKthConfig
    | ConfiguratorConfig
)

CONFIGURATOR_CONFIGS = Components(
    "configurator",
    {
        "tempered_softmax": (TemperedSoftmaxConfig, "seqboat_lab.nn.configurator:TemperedSoftmax"),
        "capacity": (CapacityConfig, "seqboat_lab.nn.capacity:Capacity"),
        "gumbel_softmax": (GumbelSoftmaxConfig, "seqboat_lab.nn.configurator:GumbelSoftmax"),
        "sigmoid": (SigmoidConfig, "seqboat_lab.nn.configurator:Sigmoid"),
        "always": (AlwaysConfig, "seqboat_lab.nn.configurator:Always"),
        "never": (NeverConfig, "seqboat_lab.nn.configurator:Never"),
        "random": (RandomConfig, "seqboat_lab.nn.configurator:Random"),
        "every_kth": (EveryKthConfig, "seqboat_lab.nn.configurator:EveryKth"),
    },
)
