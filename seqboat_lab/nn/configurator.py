"""Latent configurators: decide token by token whether attention is needed (docs/model.md, step 4).

Each is made from its config, d_model and the number of its layer, says how many router logits it reads, and
maps logits u (..., logits) and original positions (those of u's last but one dimension, or one number for all)
to a `Decision`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqboat_lab.config.configurator import (
    CONFIGURATOR_CONFIGS,
    AlwaysConfig,
    AnyConfiguratorConfig,
    EveryKthConfig,
    GumbelSoftmaxConfig,
    NeverConfig,
    RandomConfig,
    SigmoidConfig,
    TemperedSoftmaxConfig,
)


class Decision(NamedTuple):
    """Per token of a batch."""

    active: Tensor
    """(B, L) bool: attention runs here."""
    confidence: Tensor
    """(B, L) float: weight of the attention's output where active; carries the gradient."""
    evidence: Tensor | None = None
    """(B, L) float: log-odds of activation, of inactive tokens too; None where the input decides nothing."""


class Configurator(nn.Module):
    """What a layer needs to know of each."""

    logits: int
    """How many router logits it reads."""

    def track(self, evidence: Tensor | None, padding_mask: Tensor | None) -> None:
        """Called with the evidence of each training batch, (B, L), and its padding, by those that follow it."""


class TemperedSoftmax(Configurator):
    """p = softmax(u / tau); active where p[1] > p[0], with confidence p[1] (Ren et al. 2023, eq. 4-6).

    Of two logits only the difference matters: p[1] = sigma((u[1] - u[0]) / tau).
    """

    logits = 2

    def __init__(self, config: TemperedSoftmaxConfig, d_model: int, layer: int = 0):
        super().__init__()
        start = torch.tensor(math.log(config.temperature_scale * math.sqrt(d_model)))
        self.log_temperature = nn.Parameter(start, requires_grad=config.learn_temperature)

    def forward(self, u: Tensor, position: Tensor | int) -> Decision:
        """u (..., 2) router logits, 0 = skip, 1 = activate."""
        evidence = difference(u) * torch.exp(-self.log_temperature)
        active = evidence.detach() > 0
        return Decision(active, torch.sigmoid(evidence), evidence)

    def temperature(self) -> Tensor:
        return self.log_temperature.exp()


class GumbelSoftmax(Configurator):
    """Straight-through Gumbel softmax (Jang et al. 2017, arXiv 1611.01144): in training the decision is sampled
    and the gradient is that of softmax((u + Gumbel noise) / tau); in evaluation it is argmax u. Confidence 1.

    tau falls exponentially with the training batches seen, which are counted in a buffer, so that a resumed
    run goes on where it was. Inactive tokens are compressed away, hence only active ones send a gradient.
    The noise comes from torch's generator: equal seeds, equal decisions.
    """

    logits = 2
    batches: Tensor

    def __init__(self, config: GumbelSoftmaxConfig, d_model: int, layer: int = 0):
        super().__init__()
        self.config = config
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, u: Tensor, position: Tensor | int) -> Decision:
        """u (..., 2) router logits, 0 = skip, 1 = activate."""
        evidence = difference(u)
        if not self.training:
            return Decision(evidence > 0, torch.ones_like(evidence), evidence)
        # the difference of two Gumbel variables is logistic: logit of a uniform one, drawn inside (0, 1)
        noise = torch.rand_like(evidence).clamp(1e-7, 1 - 1e-7).logit()
        soft = torch.sigmoid((evidence + noise) / self.temperature())
        self.batches += 1
        active = soft.detach() > 0.5
        return Decision(active, 1 + soft - soft.detach(), evidence)

    def temperature(self) -> Tensor:
        start, end = self.config.initial_temperature, self.config.final_temperature
        progress = (self.batches / self.config.anneal_steps).clamp(max=1.0)
        return start * torch.exp(progress * math.log(end / start))


class Sigmoid(Configurator):
    """One logit: p = sigma(u), active where p > 0.5, with confidence p."""

    logits = 1

    def __init__(self, config: SigmoidConfig, d_model: int, layer: int = 0):
        super().__init__()

    def forward(self, u: Tensor, position: Tensor | int) -> Decision:
        """u (..., 1) router logit."""
        evidence = in_float32(u).squeeze(-1)
        return Decision(evidence.detach() > 0, torch.sigmoid(evidence), evidence)


class ByPosition(Configurator):
    """Decisions that ignore the input, the same in every row, with confidence 1."""

    logits = 0

    def forward(self, u: Tensor, position: Tensor | int) -> Decision:
        """u (..., 0); only its shape counts."""
        position = torch.as_tensor(position, device=u.device)
        active = self.choose(position).expand(u.shape[:-1])
        return Decision(active, torch.ones(active.shape, device=u.device))

    def choose(self, position: Tensor) -> Tensor:
        """Positions of any shape -> bool of that shape."""
        raise NotImplementedError


class Always(ByPosition):
    """Every token active: Mega with a sliding window."""

    def __init__(self, config: AlwaysConfig, d_model: int, layer: int = 0):
        super().__init__()

    def choose(self, position: Tensor) -> Tensor:
        return torch.ones_like(position, dtype=torch.bool)


class Never(ByPosition):
    """No token active: the SSM and the skip path alone."""

    def __init__(self, config: NeverConfig, d_model: int, layer: int = 0):
        super().__init__()

    def choose(self, position: Tensor) -> Tensor:
        return torch.zeros_like(position, dtype=torch.bool)


class Random(ByPosition):
    """A share `rate` of the positions, chosen by a hash of seed, layer and position: `step` and `forward` agree."""

    def __init__(self, config: RandomConfig, d_model: int, layer: int = 0):
        super().__init__()
        self.bound = round(config.rate * 2**32)
        self.key = int(mix(torch.tensor(int(mix(torch.tensor(config.seed))) ^ layer)))

    def choose(self, position: Tensor) -> Tensor:
        return mix(mix(position) ^ self.key) < self.bound


class EveryKth(ByPosition):
    """Positions 0, k, 2k, ..."""

    def __init__(self, config: EveryKthConfig, d_model: int, layer: int = 0):
        super().__init__()
        self.k = config.k

    def choose(self, position: Tensor) -> Tensor:
        return position % self.k == 0


def in_float32(u: Tensor) -> Tensor:
    return u if u.dtype == torch.float64 else u.float()


def difference(u: Tensor) -> Tensor:
    """How much the logits (..., 2) speak for activation, in float32 at least."""
    u = in_float32(u)
    return u[..., 1] - u[..., 0]


def mix(x: Tensor) -> Tensor:
    """An integer hash to [0, 2^32): xor-shifts and multiplications that let every bit touch every other."""
    x = x & 0xFFFFFFFF
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return x ^ (x >> 16)


def make_configurator(config: AnyConfiguratorConfig, d_model: int, layer: int = 0) -> Configurator:
    """The configurator that `config.kind` names."""
    return CONFIGURATOR_CONFIGS.implementation(config.kind)(config, d_model, layer)
