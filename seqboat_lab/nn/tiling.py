"""Packed tokens cut into tiles of queries, each with the window of keys that they may read."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def tile_size(memory_size: int) -> int:
    """Queries per tile: large enough for fast matmuls, small enough to waste little of the window."""
    return min(max(16, memory_size // 2), 128)


class Tiling:
    """n packed tokens in tiles of T queries; a window is `width` slots, from w before the tile on.

    Rows follow each other without gaps; a pair of different rows is masked like one outside the window. Slots that
    fill the last tile attend to each other and are cut off: without any active token one such tile keeps every
    parameter in the graph, with a zero gradient, as DDP needs.
    """

    def __init__(self, row: Tensor, position: Tensor, memory_size: int, bidirectional: bool):
        """row, position (n,): each token's row of the batch and original position."""
        self.n, self.T = len(row), tile_size(memory_size)
        self.back, self.ahead = memory_size, memory_size if bidirectional else 0
        self.tiles = max(1, -(-self.n // self.T))
        self.width = self.back + self.T + self.ahead
        self.fill = self.tiles * self.T - self.n
        around = (self.back, self.ahead + self.fill)
        self.row, self.position = F.pad(row, around, value=-1).int(), F.pad(position, around).int()
        self.slot = torch.arange(len(self.row), dtype=torch.int32, device=row.device)
        key = torch.arange(self.width, device=row.device) - self.back
        self.offset = key - torch.arange(self.T, device=row.device).unsqueeze(1)  # (T, width)
        self.far = (self.offset < -self.back) | (self.offset > self.ahead)

    def queries(self, x: Tensor) -> Tensor:
        """(n, d) -> (tiles, T, d)"""
        return _padded(x, 0, self.fill).view(self.tiles, self.T, x.shape[1])

    def slots(self, x: Tensor) -> Tensor:
        """(n, d) -> what windows are cut from, (back + tiles * T + ahead, d)"""
        return _padded(x, self.back, self.ahead + self.fill)

    def windows(self, slots: Tensor) -> Tensor:
        """-> a view (tiles, width, d): tile i holds the slots from i * T on."""
        return slots.unfold(0, self.width, self.T).mT

    def blocks(self, x: Tensor) -> Tensor:
        """Zeros (tiles + ..., T, d): slots in blocks of T, for `add_windows`."""
        return x.new_zeros(self.tiles - 1 - (-self.width // self.T), self.T, x.shape[-1])

    def tokens(self, blocks: Tensor) -> Tensor:
        """Slots in blocks -> those of the tokens (n, d)"""
        return blocks.flatten(0, 1)[self.back : self.back + self.n]

    def pairs(self, tiles: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
        """Of each query and key of some tiles: key's original position less the query's, the same in slots, and
        whether the query may not read the key; each (tiles, T, width)."""
        own = slice(self.back, self.back + self.tiles * self.T)
        row, position = (t.unfold(0, self.width, self.T)[tiles].unsqueeze(1) for t in (self.row, self.position))
        own_row, own_position = (t[own].view(-1, self.T, 1)[tiles] for t in (self.row, self.position))
        outside = (row != own_row).logical_or_(self.far)
        return position - own_position, self.offset.expand(outside.shape), outside


def _padded(x: Tensor, before: int, after: int) -> Tensor:
    """(n, d) -> (before + n + after, d); `F.pad` writes what it pads twice."""
    return torch.cat([x.new_zeros(before, x.shape[1]), x, x.new_zeros(after, x.shape[1])]) if before + after else x


def add_windows(blocks: Tensor, grad: Tensor) -> None:
    """Adds windows (tiles, width, d) to the blocks (tiles + ..., T, d) that they were cut from: whole blocks at a time,
    where autograd's own gradient of `unfold` goes element by element (a sixth of attention's time)."""
    for i, part in enumerate(grad.split(blocks.shape[1], dim=1)):
        blocks[i : i + len(grad), : part.shape[1]] += part


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, tiling: Tiling) -> Tensor:
        ctx.tiling = tiling
        return tiling.windows(tiling.slots(x))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        blocks = ctx.tiling.blocks(grad)
        add_windows(blocks, grad)
        return ctx.tiling.tokens(blocks), None


def windows(x: Tensor, tiling: Tiling) -> Tensor:
    """Tokens (n, d) -> windows (tiles, width, d)."""
    return _Windows.apply(x, tiling)
