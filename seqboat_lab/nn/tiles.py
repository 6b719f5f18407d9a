"""Attention of tiles of queries over their windows of keys: two equal ways, and the rule that picks one."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def softmax(scores: Tensor) -> Tensor:
    """Over the allowed keys, in float32 at least."""
    return torch.softmax(scores, dim=-1, dtype=torch.float64 if scores.dtype == torch.float64 else torch.float32)


def relu2(scores: Tensor) -> Tensor:
    return torch.relu(scores).square()


def laplace(scores: Tensor) -> Tensor:
    """0.5 (1 + erf((score - sqrt(1/2)) / (sigma sqrt 2))), sigma = sqrt(1 / 4 pi) (Mega, eq. 16)."""
    return 0.5 * (1 + torch.erf((scores - 0.707107) / (0.282095 * math.sqrt(2))))


ATTENTION_FUNCTIONS = {"softmax": softmax, "relu2": relu2, "laplace": laplace}


def tile_size(memory_size: int) -> int:
    """Queries per tile: large enough for fast matmuls, small enough to waste little of the window."""
    return min(max(16, memory_size // 2), 128)


class _Windows(torch.autograd.Function):
    """Overlapping windows as a view; the gradient adds whole blocks, where autograd's own goes element by element
    (a sixth of attention's time)."""

    @staticmethod
    def forward(ctx, x: Tensor, width: int, stride: int) -> Tensor:
        ctx.slots, ctx.stride = len(x), stride
        return x.unfold(0, width, stride).mT

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        T = ctx.stride
        tiles, width, d = grad.shape
        blocks = -(-width // T)
        out = grad.new_zeros(tiles + blocks - 1, T, d)
        for i in range(blocks):
            block = grad[:, i * T : (i + 1) * T]
            out[i : i + tiles, : block.shape[1]] += block
        return out.view(-1, d)[: ctx.slots], None, None


def windows(x: Tensor, width: int, stride: int) -> Tensor:
    """(n, d) -> (tiles, width, d): tile i holds the slots from i * stride on."""
    return _Windows.apply(x, width, stride)


def by_matmul(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, function: Callable) -> Tensor:
    """Two batched matmuls around any attention function."""
    scores = torch.baddbmm(bias.to(q.dtype), q, k.mT, alpha=scale)
    return torch.bmm(function(scores).to(v.dtype), v)


def by_sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    """The softmax's tiles through torch's fused kernel, which does not keep the weights (tiles, T, width)."""
    q, k, v, bias = (t.unsqueeze(1) for t in (q.to(v.dtype), k.to(v.dtype), v, bias.to(v.dtype)))  # one head
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale).squeeze(1)


class TileAttention:
    """q (tiles, T, z), k (tiles, width, z), v (tiles, width, h), bias (tiles, T, width) -> (tiles, T, h).

    backend: `matmul`, `sdpa` (softmax only), or `auto`: on CUDA the faster of the two for the softmax, measured once
    in a process for each kind of tile; elsewhere, and in compiled graphs, `matmul`.
    """

    def __init__(self, attention: str, backend: str):
        self.function = ATTENTION_FUNCTIONS[attention]
        self.backend = "matmul" if backend == "auto" and attention != "softmax" else backend

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
        ways = {
            "matmul": partial(by_matmul, scale=scale, function=self.function),
            "sdpa": partial(by_sdpa, scale=scale),
        }
        name = self.backend
        if name == "auto":
            measurable = q.is_cuda and not torch.compiler.is_compiling()
            name = faster(ways, (q, k, v, bias)) if measurable else "matmul"
        return ways[name](q, k, v, bias)


_FASTER: dict[tuple, str] = {}


def faster(ways: Mapping[str, Callable[..., Tensor]], tensors: tuple[Tensor, ...]) -> str:
    """The name of the way that takes least time, measured once for tensors of one kind (all but the first size)."""
    key = (torch.is_grad_enabled(), *((t.device, t.dtype, t.requires_grad, t.shape[1:]) for t in tensors))
    if key not in _FASTER:
        times = {name: seconds(way, tensors) for name, way in ways.items()}
        _FASTER[key] = min(times, key=times.__getitem__)
    return _FASTER[key]


def seconds(way: Callable[..., Tensor], tensors: tuple[Tensor, ...], repeats: int = 5) -> float:
    """Median seconds of forward and, where it is needed, backward, on copies without a graph.

    Infinite for a way that the device cannot go.
    """
    copies = [t.detach().requires_grad_(t.requires_grad) for t in tensors]
    wait = torch.cuda.synchronize if tensors[0].is_cuda else lambda: None
    times = []
    try:
        for _ in range(repeats + 1):  # the first one warms up
            wait()
            start = time.perf_counter()
            out = way(*copies)
            if out.requires_grad:
                torch.autograd.grad(out, [t for t in copies if t.requires_grad], torch.ones_like(out))
            wait()
            times.append(time.perf_counter() - start)
    except RuntimeError:
        return math.inf
    return statistics.median(times[1:])
