"""The interface of every mixer, and what stands around one: a pre-norm residual block."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.native.gate import gated
from seqboat_lab.nn.checks import check_same_dtype, check_tokens
from seqboat_lab.nn.dropout import Dropout
from seqboat_lab.nn.norms import NORMS
from seqboat_lab.nn.ssm.base import FLOPs


class Mixer(nn.Module, ABC):
    """x (B, L, d) -> (B, L, d), causal: what a block adds to its residual stream, from the normalised tokens.

    `forward` reads whole sequences or segments, `step` one token; they agree. Padded tokens come in as zeros, and
    must leave every other token's output as it is. Made from the layer's `ModelConfig`, whose `mixer` holds the
    mixer's own settings, and its number.
    """

    two_sided: ClassVar[bool] = False
    """Whether it reads both ways by itself where the model is bidirectional; of others two are made, one of which
    reads backward, and added."""

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor, padding_mask: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """The output and, where a state was passed in, the state after the last token (else None).

        Args:
            padding_mask: (B, L), True = padding.
            state: of the tokens before x; goes without padding.
        """

    @abstractmethod
    def init_state(self, batch: int) -> Any:
        """State of `batch` streams before their first token: tensors (batch, ...) and numbers in (named) tuples.
        Raises `UserError` where there is none."""

    @abstractmethod
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token of every stream: x (B, d) -> (B, d) and the next state."""

    @staticmethod
    @abstractmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        """Per token of a sequence, one direction, without the feed-forward part."""

    @staticmethod
    def feed_forward(config: ModelConfig, number: int = 0) -> "Mixer | None":
        """The block's feed-forward part; None = it has none."""
        return MLP(config) if getattr(config.mixer, "ffn_ratio", 0) else None


class TokenWise(Mixer):
    """What works on every token by itself, and so has an empty state."""

    @abstractmethod
    def of_tokens(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., d)"""

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        return self.of_tokens(x), state

    def init_state(self, batch: int) -> tuple:
        return ()

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.of_tokens(x), state


def ffn_width(config: ModelConfig) -> int:
    return max(1, round(config.mixer.ffn_ratio * config.d_model))


class MLP(TokenWise):
    """W2 gelu(W1 x), initialised like GPT-2."""

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        self.fc1 = nn.Linear(config.d_model, ffn_width(config))
        self.fc2 = nn.Linear(ffn_width(config), config.d_model)
        gpt2_init(config, self.fc1, self.fc2)

    def of_tokens(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        return FLOPs(4.0 * config.d_model * ffn_width(config), 0.0)


class SwiGLU(TokenWise):
    """W3 (silu(W1 x) * W2 x) (Shazeer 2020, arXiv 2002.05202), initialised by whom it stands behind."""

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        self.fc1 = nn.Linear(config.d_model, 2 * ffn_width(config), bias=False)
        self.fc2 = nn.Linear(ffn_width(config), config.d_model, bias=False)

    def of_tokens(self, x: Tensor) -> Tensor:
        gate, value = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(gated(gate, value))

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        return FLOPs(6.0 * config.d_model * ffn_width(config), 0.0)


def normal(*linears: nn.Linear, std: float = 0.02) -> None:
    """Weights normal with that std, biases 0."""
    for linear in linears:
        nn.init.normal_(linear.weight, std=std)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)


def gpt2_init(config: ModelConfig, *linears: nn.Linear) -> None:
    """Weights normal with std 0.02, those of the last one, which adds to the residual stream, with 0.02 / sqrt(2 *
    layers); biases 0 (Radford et al. 2019)."""
    normal(*linears[:-1])
    normal(linears[-1], std=0.02 * (2 * config.layers) ** -0.5)


class BothWays(Mixer):
    """Two mixers, one of which reads backward; their outputs are added."""

    def __init__(self, config: ModelConfig, number: int, kind: type[Mixer]):
        super().__init__(config, number)
        self.ahead, self.back = kind(config, number), kind(config, number)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        flipped = None if padding_mask is None else padding_mask.flip(1)
        return self.ahead(x, padding_mask)[0] + self.back(x.flip(1), flipped)[0].flip(1), None

    def init_state(self, batch: int) -> Any:
        raise AssertionError("the block refuses")

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        raise AssertionError("the block refuses")

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        raise AssertionError("`block_flops` counts both")


class BlockOutput(NamedTuple):
    """Of a layer that decides nothing; see `LayerOutput`."""

    y: Tensor
    """(B, L, d)"""
    state: Any = None
    """After the last token, where a state was passed in."""


class Block(nn.Module):
    """x + mixer(norm(x)), then x + feed_forward(norm(x)), with dropout on what is added; the interface is that of
    `SeqBoatLayer`."""

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__()
        self.config = config
        kind = MIXER_CONFIGS.implementation(config.kind)
        twice = config.bidirectional and not kind.two_sided
        self.mixer = BothWays(config, number, kind) if twice else kind(config, number)
        self.feed_forward = kind.feed_forward(config, number)
        self.norms = nn.ModuleList(NORMS[config.norm](config.d_model) for _ in self.parts)
        self.dropout = Dropout(config.dropout)

    @property
    def parts(self) -> list[Mixer]:
        return [self.mixer] if self.feed_forward is None else [self.mixer, self.feed_forward]

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, state: Any = None) -> BlockOutput:
        """x (B, L, d), padding_mask (B, L) True = padding, the state of the tokens before x (no padding then)."""
        check_tokens(x, self.config.d_model, padding_mask)
        check_same_dtype(x, next(self.parameters()))
        if state is not None and padding_mask is not None:
            raise ValueError("a carried state goes with unpadded segments; give either state or padding_mask")
        states = []
        for i, (norm, part) in enumerate(zip(self.norms, self.parts, strict=True)):
            xn = norm(x, padding_mask)
            if padding_mask is not None:
                xn = xn.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            y, new_state = part(xn, padding_mask, None if state is None else state[i])
            x = x + self.dropout(y).to(x.dtype)
            states.append(new_state)
        return BlockOutput(x, None if state is None else tuple(states))

    def init_state(self, batch: int) -> tuple:
        """State of `batch` streams before their first token. Raises `UserError` for a mixer that has none."""
        if self.config.bidirectional:
            raise ValueError("a bidirectional layer cannot be run step by step; set bidirectional: false")
        if batch < 0:
            raise ValueError(f"expected a number of streams, 0 or more; found {batch}")
        return tuple(part.init_state(batch) for part in self.parts)

    def step(self, x: Tensor, state: tuple) -> tuple[Tensor, None, tuple]:
        """One token of every stream: x (B, d) -> y (B, d), no decision, and the next state."""
        check_tokens(x.unsqueeze(1), self.config.d_model)
        states = []
        for norm, part, old in zip(self.norms, self.parts, state, strict=True):
            y, new_state = part.step(norm(x.unsqueeze(1)).squeeze(1), old)
            x = x + self.dropout(y).to(x.dtype)
            states.append(new_state)
        return x, None, tuple(states)


def block_flops(config: ModelConfig, length: int) -> dict[str, FLOPs]:
    """FLOPs per token of one layer that is a `Block`: of its mixer, both directions, and of its feed-forward part."""
    kind = MIXER_CONFIGS.implementation(config.kind)
    ways = 2 if config.bidirectional and not kind.two_sided else 1
    with torch.device("meta"):  # only its class is asked for
        feed_forward = kind.feed_forward(config)
    ffn = FLOPs(0.0, 0.0) if feed_forward is None else feed_forward.flops(config, length)
    return {"mixer": FLOPs(*(ways * flops for flops in kind.flops(config, length))), "ffn": ffn}
