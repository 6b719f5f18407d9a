"""What lies between the matmuls of attention by tiles, by pairs.c."""

import ctypes
from ctypes import c_int64, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from seqboat_lab.native.library import loaded, pointer


class _Pairs(ctypes.Structure):
    """`pairs` in pairs.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("row", "place", "table")),
        *((name, c_int64) for name in ("center", "reach", "tiles", "T", "width", "back", "ahead", "softmax")),
    )


class Window(NamedTuple):
    """Tiles of T queries, each of which may read `back` slots before it and `ahead` slots after it."""

    T: int
    back: int
    ahead: int


class NativePairs:
    """Pairs of queries and keys, of softmax or relu2, some tiles at a time.

    Args:
        row, place: (slots,) int32; a key may be read from its own row alone, and adds to its score
            table[center + place of key - place of query], that distance clamped to +-reach.
    """

    def __init__(
        self, window: Window, row: Tensor, place: Tensor, table: Tensor, *, center: int, reach: int, softmax: bool
    ):
        self.row, self.place, self.table, self.T = row.contiguous(), place.contiguous(), table.contiguous(), window.T
        self.fields = {**window._asdict(), "width": sum(window), "center": center, "reach": reach, "softmax": softmax}

    def weights(self, some: slice, q: Tensor, keys: Tensor, scores: Tensor) -> Tensor:
        """q (tiles, T, z), keys (tiles, width, z) of some tiles -> attention's weights (tiles, T, width), and into
        `scores` what they come from."""
        torch.bmm(q, keys.mT, out=scores)
        p = torch.empty_like(scores)
        loaded(p).pairs_forward(self._of(some), pointer(scores), pointer(p))
        return p

    def gradient(self, some: slice, scores: Tensor, grad: Tensor, grad_table: Tensor | None) -> tuple[Tensor, Tensor]:
        """The weights again, and their gradient `grad` made that of the scores, in place; each tile adds to its row of
        grad_table (tiles, entries)."""
        p = torch.empty_like(scores)
        tensors = map(pointer, (scores, grad, p, grad_table))
        loaded(p).pairs_backward(self._of(some), *tensors, c_int64(len(self.table)))
        return p, grad

    def _of(self, some: slice) -> _Pairs:
        row, place = (t[some.start * self.T :].data_ptr() for t in (self.row, self.place))
        return _Pairs(row, place, self.table.data_ptr(), tiles=some.stop - some.start, **self.fields)
