"""The price of attention: an auxiliary loss that the paper does not have, `optim.activation_cost`."""

import torch
import torch.distributed as dist
from torch import Tensor

from seqboat_lab.config import ModelConfig, OptimConfig
from seqboat_lab.nn.cost import attention_flops
from seqboat_lab.nn.models import Activation


def price(config: OptimConfig, progress: float) -> float:
    """What the activation of all tokens costs after this share of training: 0, then rising in a straight line."""
    low, high = config.activation_cost_from, config.activation_cost_to
    risen = min(max((progress - low) / max(high - low, 1e-9), 0.0), 1.0)
    return config.activation_cost * risen


def probability_of_activation(
    activations: list[Activation], padding_mask: Tensor | None, weights: list[float]
) -> Tensor | None:
    """Mean probability of activation over real tokens and, by the given weights, over layers; it carries the gradient.

    Layers whose decisions ignore the input count nothing; None if all do. Summed up over DDP ranks (whose gradients
    are averaged) it is the mean over all their real tokens.
    """
    total = None
    for activation, weight in zip(activations, weights, strict=True):
        if activation.evidence is None:
            continue
        p = torch.sigmoid(activation.evidence)
        if padding_mask is not None:
            p = p.masked_fill(padding_mask, 0.0)
        total = weight * p.sum() + (0.0 if total is None else total)
    if total is None:
        return None
    first = activations[0].active
    real = first.new_full((), first.numel(), dtype=torch.long) if padding_mask is None else (~padding_mask).sum()
    return total / mean_over_ranks(real)


def mean_over_ranks(count: Tensor) -> Tensor:
    """A count's mean over the DDP ranks: what a local sum is to be divided by, so that the ranks' average is exact."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        count = count.clone()
        dist.all_reduce(count)
        return count / dist.get_world_size()
    return count


def layer_weights(config: ModelConfig, per: str) -> list[float]:
    """Each layer's share of the price, 1 in sum: alike per `token`; its part of all attention FLOPs per `flop`."""
    layers = config.activating_layers
    if per == "token":
        return [1 / layers] * layers if layers else []
    flops = [attention_flops(config.layer(i)) for i in config.deciding]
    return [each / sum(flops) for each in flops]
