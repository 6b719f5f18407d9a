"""Attention of tiles of queries over their windows of keys: three equal ways, and the rule that picks one."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.nn.chunks import attend_by_chunks
from seqboat_lab.nn.positions import Bias
from seqboat_lab.nn.tiling import Tiling, windows


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
            return attend_by_chunks(q, k, v, tiling, bias, scale, function)
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
