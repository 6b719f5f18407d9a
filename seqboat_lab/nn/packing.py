"""Compress and extract: active tokens of the whole batch, packed one after the other."""

from typing import NamedTuple

import torch
from torch import Tensor


class Packing(NamedTuple):
    """The n active tokens of a batch, in order of row and position."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    """(n,) place in the flattened (B * L) batch."""
    row: Tensor
    """(n,) row of the batch."""
    position: Tensor
    """(n,) position in the original sequence."""


def pack(active: Tensor, offset: int = 0) -> Packing:
    """Where the active tokens of `active` (B, L) are; positions count from `offset`.

    The number of active tokens decides shapes, so this is the layer's one wait for the device.
    """
    index = active.flatten().nonzero().squeeze(1)
    row = index.div(active.shape[1], rounding_mode="floor")
    return Packing(index, row, index - row * active.shape[1] + offset)


def compress(x: Tensor, packing: Packing) -> Tensor:
    """(B, L, d) -> (n, d)."""
    return x.flatten(0, 1).index_select(0, packing.index)


def extract(base: Tensor, packed: Tensor, index: Tensor, in_place: bool = False) -> Tensor:
    """`base` (..., d) plus `packed` (n, d) at the flat places `index` of the active tokens."""
    flat, packed = base.flatten(0, -2), packed.to(base.dtype)
    return (flat.index_add_(0, index, packed) if in_place else flat.index_add(0, index, packed)).view_as(base)


def attention_span(active: Tensor, memory_size: int, bidirectional: bool) -> tuple[Tensor, Tensor]:
    """What active tokens reach: (B, L) bool -> two (n,) float tensors, one value per active token.

    First the span, as the authors' code measures it: mean distance, in original positions, between the token and the
    other keys it may read; 0 if there is none, which their average over tokens (and ours) then leaves out. Then the
    fill: the share of its working memory's w places (2w, bidirectional) that hold a key. O(n) through running sums.
    """
    packing = pack(active)
    counts = active.sum(1)
    first = (counts.cumsum(0) - counts)[packing.row]
    return span_of(packing.position, first, first + counts[packing.row] - 1, memory_size, bidirectional)


def span_of(
    position: Tensor, first: Tensor | int, last: Tensor | int, memory_size: int, bidirectional: bool
) -> tuple[Tensor, Tensor]:
    """`attention_span` of active tokens at `position` (n,); their rows begin and end at the slots `first`, `last`."""
    n = len(position)
    if n == 0:
        return position.new_zeros(0, dtype=torch.float), position.new_zeros(0, dtype=torch.float)
    slot = torch.arange(n, device=position.device)
    low = (slot - memory_size).clamp(min=first)
    high = (slot + memory_size).clamp(max=last) if bidirectional else slot
    sums = torch.cat([position.new_zeros(1), position.cumsum(0)])  # sums[i] = before slot i
    behind = position * (slot - low) - (sums[slot] - sums[low])
    ahead = (sums[high + 1] - sums[slot + 1]) - position * (high - slot)
    others = (high - low).float()
    capacity = memory_size * (2 if bidirectional else 1)
    return (behind + ahead) / others.clamp(min=1), others / capacity
