"""What a stream carries from token to token, in bytes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from seqboat_lab.config.mixers import ModConfig
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers import make_layer


def state_bytes(config: ModelConfig, length: int, activation_rates: Sequence[float]) -> int | None:
    """What all layers carry of one stream after `length` tokens, in float32; None of a model that cannot stream.

    Args:
        activation_rates: one per layer that decides (`config.deciding`): the tokens that `mod` keeps.
    """
    if not config.is_stack or config.bidirectional:
        return None
    if any(config.settings(kind).state == "none" for kind in config.kinds):
        return None
    rates = dict(zip(config.deciding, activation_rates, strict=True))
    return sum(_of_layer(config.layer(i), i, length, rates.get(i, 1.0)) for i in range(config.layers))


def _of_layer(layer: ModelConfig, number: int, length: int, rate: float) -> int:
    if isinstance(layer.mixer, ModConfig):  # how many it keeps depends on the tokens: keys and values of a share
        return round(rate * length) * 2 * layer.d_model * torch.float32.itemsize
    module: Any = make_layer(layer, number)
    state = module.init_state(1)
    if not any(t.numel() == 0 for t in tensors_in(state)):
        return bytes_of(state)
    with FakeTensorMode():  # a window fills, a cache grows: shapes alone, nothing is computed
        module = make_layer(layer, number)
        state = module(torch.empty(1, length, layer.d_model), None, module.init_state(1)).state
    return bytes_of(state)


def bytes_of(state: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors_in(state))


def tensors_in(state: Any) -> list[Tensor]:
    """Those in (nested) tuples and lists."""
    if isinstance(state, Tensor):
        return [state]
    return [t for inner in state for t in tensors_in(inner)] if isinstance(state, (tuple, list)) else []
