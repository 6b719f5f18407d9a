"""How a query knows where a key stands: a bias by distance, or rotated queries and keys."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

OUTSIDE = float("-inf")  # the bias of a pair that may not attend


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021, arXiv 2104.09864): neighbours (2n, 2n+1) of the last dimension turn by
    position * 10000^(-2n/z). x (..., z), position (...); angles in float64, exact for any length."""
    z = x.shape[-1]
    return turn(x, position, 10000.0 ** (-torch.arange(0, z, 2, device=x.device, dtype=torch.float64) / z))


def turn(x: Tensor, position: Tensor, theta: Tensor) -> Tensor:
    """Neighbours (2n, 2n+1) of x (..., z) turn by position (...) * theta (z/2) of float64."""
    angle = position.unsqueeze(-1) * theta  # (..., z/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


class Rotary(nn.Module):
    """Queries and keys turned by their original position; no bias."""

    def rotate(self, x: Tensor, position: Tensor) -> Tensor:
        return rotate(x, position)

    def bias(self, distance: Tensor, rank_distance: Tensor, allowed: Tensor) -> Tensor:
        return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, OUTSIDE)


class BiasTable(nn.Module):
    """A learned bias for every distance, looked up in a table of 2M - 1 entries, index M - 1 + distance."""

    def __init__(self, reach: int):
        super().__init__()
        self.reach = reach  # M
        self.table = nn.Parameter(torch.empty(2 * reach - 1))
        nn.init.trunc_normal_(self.table, std=0.02, a=-0.04, b=0.04)

    def rotate(self, x: Tensor, position: Tensor) -> Tensor:
        return x

    def lookup(self, index: Tensor, allowed: Tensor) -> Tensor:
        # one more entry serves the pairs outside: a single gather gives bias and mask, its backward is a 1-D sum
        table = torch.cat([self.table, self.table.new_full((1,), OUTSIDE)])
        index = torch.where(allowed, index, len(self.table))
        return table.index_select(0, index.flatten()).view(index.shape)


class OriginalDistanceBias(BiasTable):
    """`bias`: by distance in the original sequence, clamped to M - 1."""

    def __init__(self, max_positions: int, memory_size: int):
        super().__init__(max_positions)

    def bias(self, distance: Tensor, rank_distance: Tensor, allowed: Tensor) -> Tensor:
        return self.lookup(distance.clamp(1 - self.reach, self.reach - 1) + (self.reach - 1), allowed)


class ActiveDistanceBias(BiasTable):
    """`local`: by distance counted in active tokens, M = 3w, shifted by w as in the authors' code."""

    def __init__(self, max_positions: int, memory_size: int):
        super().__init__(3 * memory_size)
        self.shift = memory_size

    def bias(self, distance: Tensor, rank_distance: Tensor, allowed: Tensor) -> Tensor:
        return self.lookup(rank_distance + (self.shift + self.reach - 1), allowed)


POSITIONS: dict[str, Callable[[int, int], Rotary | OriginalDistanceBias | ActiveDistanceBias]] = {
    "bias": OriginalDistanceBias,
    "local": ActiveDistanceBias,
    "rotary": lambda max_positions, memory_size: Rotary(),
}
