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


class Bias(nn.Module):
    """What pairs of query and key add to their scores: each takes one of `entries`."""

    table: Tensor
    """(m - 1,) biases of pairs that may meet."""
    by_rank = False
    """Whether distance is counted in active tokens, or else in the original sequence."""
    center = 0
    """Which entry distance 0 takes."""
    reach = 0
    """What distances are clamped to."""

    def rotate(self, x: Tensor, position: Tensor) -> Tensor:
        """Queries or keys x (n, z) at original positions (n,)."""
        return x

    def entries(self) -> Tensor:
        """(m,) biases, the last of them OUTSIDE: a single gather gives bias and mask, its backward is a 1-D sum."""
        return torch.cat([self.table, self.table.new_full((1,), OUTSIDE)])

    def index(self, distance: Tensor, rank_distance: Tensor, outside: Tensor) -> Tensor:
        """Of each pair: how far the key stands from the query in original positions and in active tokens, and whether
        it may not be read -> which entry it takes, of the same shape."""
        distance = rank_distance if self.by_rank else distance
        return distance.clamp(-self.reach, self.reach).add_(self.center).masked_fill_(outside, len(self.table))

    def forward(self, distance: Tensor, rank_distance: Tensor, outside: Tensor) -> Tensor:
        """The biases themselves."""
        index = self.index(distance, rank_distance, outside)
        return self.entries().index_select(0, index.flatten()).view(index.shape)


class Rotary(Bias):
    """Queries and keys turned by their original position; no bias."""

    def __init__(self, max_positions: int, memory_size: int):
        super().__init__()
        self.register_buffer("table", torch.zeros(1), persistent=False)

    def rotate(self, x: Tensor, position: Tensor) -> Tensor:
        return rotate(x, position)


class BiasTable(Bias):
    """A learned bias for every distance: a table of 2M - 1 entries."""

    def __init__(self, size: int):
        super().__init__()
        self.reach = self.center = size - 1  # size = M
        self.table = nn.Parameter(torch.empty(2 * size - 1))
        nn.init.trunc_normal_(self.table, std=0.02, a=-0.04, b=0.04)


class OriginalDistanceBias(BiasTable):
    """`bias`: by distance in the original sequence, clamped to M - 1."""

    def __init__(self, max_positions: int, memory_size: int):
        super().__init__(max_positions)


class ActiveDistanceBias(BiasTable):
    """`local`: by distance counted in active tokens, M = 3w, shifted by w as in the authors' code."""

    by_rank = True

    def __init__(self, max_positions: int, memory_size: int):
        super().__init__(3 * memory_size)
        self.center += memory_size
        self.reach = memory_size


POSITIONS: dict[str, Callable[[int, int], Bias]] = {
    "bias": OriginalDistanceBias,
    "local": ActiveDistanceBias,
    "rotary": Rotary,
}
