"""Attention of tiles some at a time, for CPUs: what lies between two matmuls stays in a core's cache."""

from collections.abc import Callable

import torch
from torch import Tensor

from seqboat_lab.native.library import native
from seqboat_lab.native.once import once_differentiable
from seqboat_lab.native.pairs import NativePairs, Window
from seqboat_lab.nn.positions import Bias
from seqboat_lab.nn.tiling import Tiling, add_windows

CHUNK = 2**18  # pairs of query and key for each core, 1 MB in float32


def attend_by_chunks(
    q: Tensor, k: Tensor, v: Tensor, tiling: Tiling, bias: Bias, scale: float, function: Callable
) -> Tensor:
    """Tokens q, k (n, z), v (n, h) -> (n, h), as `tiles.by_matmul`; the scores alone are kept for the gradient."""
    return _ByChunks.apply(q, k, v, bias.entries(), tiling, bias, scale, function)


class TorchPairs:
    """Bias, mask and attention function of pairs, in torch."""

    def __init__(self, tiling: Tiling, bias: Bias, biases: Tensor, function: Callable):
        self.tiling, self.bias, self.biases, self.function = tiling, bias, biases, function

    def weights(self, some: slice, q: Tensor, keys: Tensor, scores: Tensor) -> Tensor:
        """q (tiles, T, z), keys (tiles, width, z) of some tiles -> weights (tiles, T, width), from `scores`."""
        torch.index_select(self.biases.to(q.dtype), 0, self._index(some).flatten(), out=scores.view(-1))
        return self.function(torch.baddbmm(scores, q, keys.mT, out=scores))

    def gradient(self, some: slice, scores: Tensor, grad: Tensor, grad_biases: Tensor | None) -> tuple[Tensor, Tensor]:
        """The weights again, and the gradient of the scores; each tile adds to its row of grad_biases."""
        with torch.enable_grad():
            s = scores.detach().requires_grad_()
            p = self.function(s)
        (grad_s,) = torch.autograd.grad(p, s, grad.to(p.dtype))
        if grad_biases is not None:
            grad_biases.scatter_add_(1, self._index(some).flatten(1).long(), grad_s.flatten(1).to(grad_biases.dtype))
        return p.detach(), grad_s

    def _index(self, some: slice) -> Tensor:
        return self.bias.index(*self.tiling.pairs(some))


def _pairs(
    q: Tensor, v: Tensor, tiling: Tiling, bias: Bias, biases: Tensor, function: Callable
) -> TorchPairs | NativePairs:
    alike = q.dtype == v.dtype == biases.dtype
    if not alike or function.__name__ not in ("softmax", "relu2") or native(q) is None:
        return TorchPairs(tiling, bias, biases, function)
    place = tiling.slot if bias.by_rank else tiling.position
    window = Window(tiling.T, tiling.back, tiling.ahead)
    where = {"center": bias.center, "reach": bias.reach}
    return NativePairs(window, tiling.row, place, biases, **where, softmax=function.__name__ == "softmax")


class _ByChunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, biases, tiling: Tiling, bias: Bias, scale: float, function: Callable) -> Tensor:
        q, k, v = tiling.queries(q * scale), tiling.slots(k), tiling.slots(v)
        pairs, chunks, kept = _pairs(q, v, tiling, bias, biases, function), _chunks(tiling), any(ctx.needs_input_grad)
        scores = q.new_empty(tiling.tiles if kept else chunks[0].stop, tiling.T, tiling.width)
        o = v.new_empty(tiling.tiles, tiling.T, v.shape[1])
        keys, values = tiling.windows(k), tiling.windows(v)
        for some in chunks:
            s = scores[some] if kept else scores[: some.stop - some.start]
            torch.bmm(pairs.weights(some, q[some], keys[some], s).to(v.dtype), values[some], out=o[some])
        ctx.save_for_backward(q, k, v, scores, biases)
        ctx.tiling, ctx.scale, ctx.pairs = tiling, scale, pairs
        return o.flatten(0, 1)[: tiling.n]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        (q, k, v, scores, biases), tiling, chunks = ctx.saved_tensors, ctx.tiling, _chunks(ctx.tiling)
        grad, keys, values = tiling.queries(grad), tiling.windows(k), tiling.windows(v)
        grad_q, grad_k, grad_v = torch.empty_like(q), tiling.blocks(k), tiling.blocks(v)
        rows = biases.new_zeros(chunks[0].stop, len(biases)) if ctx.needs_input_grad[3] else None  # one a tile
        for some in chunks:
            own = None if rows is None else rows[: some.stop - some.start]
            p, grad_s = ctx.pairs.gradient(some, scores[some], torch.bmm(grad[some], values[some].mT), own)
            add_windows(grad_v[some.start :], torch.bmm(p.to(v.dtype).mT, grad[some]))
            add_windows(grad_k[some.start :], torch.bmm(grad_s.mT, q[some]))
            torch.bmm(grad_s, keys[some], out=grad_q[some])
        grad_q = grad_q.mul_(ctx.scale).flatten(0, 1)[: tiling.n]
        grad_biases = None if rows is None else rows.sum(0)
        return grad_q, tiling.tokens(grad_k), tiling.tokens(grad_v), grad_biases, None, None, None, None


def _chunks(tiling: Tiling) -> list[slice]:
    """Some tiles each, a power of two: cores share them evenly."""
    most = CHUNK * torch.get_num_threads() // (tiling.T * tiling.width)
    size = 1 << max(1, most).bit_length() - 1
    return [slice(first, min(first + size, tiling.tiles)) for first in range(0, tiling.tiles, size)]
