"""Attention of tiles of queries over their windows of keys: three equal ways, and the rule that picks one."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqboat_lab.nn.positions import Bias
from seqboat_lab.nn.tiling import Tiling, add_windows, windows


def softmax(scores: Tensor) -> Tensor:
    """Over the allowed keys, in float32 at least."""
    return torch.softmax(scores, dim=-1, dtype=torch.float64 if scores.dtype == torch.float64 else torch.float32)


def relu2(scores: Tensor) -> Tensor:
    return torch.relu(scores).square()


def laplace(scores: Tensor) -> Tensor:
    """0.5 (1 + erf((score - sqrt(1/2)) / (sigma sqrt 2))), sigma = sqrt(1 / 4 pi) (Mega, eq. 16)."""
    return 0.5 * (1 + torch.erf((scores - 0.707107) / (0.282095 * math.sqrt(2))))


ATTENTION_FUNCTIONS = {"softmax": softmax, "relu2": relu2, "laplace": laplace}


def by_matmul(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, function: Callable) -> Tensor:
    """Two batched matmuls around any attention function."""
    scores = torch.baddbmm(bias.to(q.dtype), q, k.mT, alpha=scale)
    return torch.bmm(function(scores).to(v.dtype), v)


def by_sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    """The softmax's tiles through torch's fused kernel, which does not keep the weights (tiles, T, width)."""
    q, k, v, bias = (t.unsqueeze(1) for t in (q.to(v.dtype), k.to(v.dtype), v, bias.to(v.dtype)))  # one head
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale).squeeze(1)


CHUNK = 2**19  # pairs of query and key, 2 MB in float32


class _ByChunks(torch.autograd.Function):
    """`by_matmul` a few tiles at a time, so that what lies between two matmuls stays in a core's cache; only the scores
    are kept for the gradient. Tokens q, k (n, z), v (n, h) -> (tiles, T, h); biases (m,) as `Bias.entries`."""

    @staticmethod
    def forward(ctx, q, k, v, biases, tiling: Tiling, bias: Bias, scale: float, function: Callable) -> Tensor:
        q, k, v = tiling.queries(q * scale), tiling.slots(k), tiling.slots(v)
        chunks, kept = _chunks(tiling), any(ctx.needs_input_grad)
        scores = q.new_empty(tiling.tiles if kept else chunks[0].stop, tiling.T, tiling.width)
        o = v.new_empty(tiling.tiles, tiling.T, v.shape[1])
        keys, values, entries = tiling.windows(k), tiling.windows(v), biases.to(q.dtype)
        indices = []
        for some in chunks:
            index = bias.index(*tiling.pairs(some)).flatten(1)  # (tiles, T * width)
            s = scores[some] if kept else scores[: len(index)]
            torch.index_select(entries, 0, index.flatten(), out=s.view(-1))
            torch.baddbmm(s, q[some], keys[some].mT, out=s)
            torch.bmm(function(s).to(v.dtype), values[some], out=o[some])
            if ctx.needs_input_grad[3]:
                indices.append(index)
        ctx.save_for_backward(q, k, v, scores, biases, *indices)
        ctx.tiling, ctx.scale, ctx.function = tiling, scale, function
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        (q, k, v, scores, biases, *indices), tiling, chunks = ctx.saved_tensors, ctx.tiling, _chunks(ctx.tiling)
        keys, values = tiling.windows(k), tiling.windows(v)
        grad_q, grad_k, grad_v = torch.empty_like(q), tiling.blocks(k), tiling.blocks(v)
        grad_biases = biases.new_zeros(chunks[0].stop, len(biases))  # rows that both cores can add to
        for i, some in enumerate(chunks):
            with torch.enable_grad():
                s = scores[some].detach().requires_grad_()
                p = ctx.function(s).to(v.dtype)
            (grad_s,) = torch.autograd.grad(p, s, torch.bmm(grad[some], values[some].mT))
            add_windows(grad_v[some.start :], torch.bmm(p.detach().mT, grad[some]))
            add_windows(grad_k[some.start :], torch.bmm(grad_s.mT, q[some]))
            torch.bmm(grad_s, keys[some], out=grad_q[some])
            if indices:
                added = grad_s.flatten(1).to(biases.dtype)
                grad_biases[: len(added)].scatter_add_(1, indices[i].long(), added)
        grad_q = grad_q.mul_(ctx.scale).flatten(0, 1)[: tiling.n]
        return grad_q, tiling.tokens(grad_k), tiling.tokens(grad_v), grad_biases.sum(0), None, None, None, None


def _chunks(tiling: Tiling) -> list[slice]:
    """Some tiles each, a power of two: cores share them evenly."""
    size = 1 << max(1, CHUNK // (tiling.T * tiling.width)).bit_length() - 1
    return [slice(first, min(first + size, tiling.tiles)) for first in range(0, tiling.tiles, size)]


class TileAttention:
    """Tokens q, k (n, z), v (n, h) -> (n, h).

    backend: `matmul`, `chunks` (the same in less memory), `sdpa` (softmax only), or `auto`: `chunks` on a CPU, `sdpa`
    for the softmax on CUDA, which keeps no weights of the size of the tiles' windows, and else `matmul`. A rule and no
    measurement, so that numbers repeat.
    """

    def __init__(self, attention: str, backend: str):
        self.attention, self.backend = attention, backend

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, tiling: Tiling, bias: Bias, scale: float) -> Tensor:
        backend, function = self.way(q.device.type), ATTENTION_FUNCTIONS[self.attention]
        if backend == "chunks":
            if torch.is_autocast_enabled(q.device.type):
                q, k, v = (t.to(torch.get_autocast_dtype(q.device.type)) for t in (q, k, v))
            o = _ByChunks.apply(q, k, v, bias.entries(), tiling, bias, scale, function)
        else:
            tensors = tiling.queries(q), windows(k, tiling), windows(v, tiling), bias(*tiling.pairs())
            o = by_sdpa(*tensors, scale) if backend == "sdpa" else by_matmul(*tensors, scale, function)
        return o.flatten(0, 1)[: tiling.n]

    def way(self, device: str) -> str:
        """The backend on this type of device; how many chunks there are depends on the input, so none are compiled."""
        if self.backend != "auto":
            return self.backend
        if device == "cpu" and not torch.compiler.is_compiling():
            return "chunks"
        return "sdpa" if device == "cuda" and self.attention == "softmax" else "matmul"
