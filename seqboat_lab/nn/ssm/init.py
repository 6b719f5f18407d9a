"""Published starting points that several kernels share: HiPPO-LegS, step sizes, complex weights."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


def hippo_legs(N: int) -> tuple[Tensor, Tensor]:
    """HiPPO-LegS A (N, N) and B (N,) in float64 (Gu et al. 2020, arXiv 2008.07669, theorem 2)."""
    n = torch.arange(N, dtype=torch.float64)
    B = torch.sqrt(2 * n + 1)
    A = -torch.tril(B.unsqueeze(1) * B, diagonal=-1) - torch.diag(n + 1)
    return A, B


class NormalPlusLowRank(NamedTuple):
    """HiPPO-LegS in the eigenbasis of its normal part: A = V (diag(eigenvalues) - P P*) V*, complex128.

    Eigenvalues come in conjugate pairs; the half with positive imaginary part is kept, (N/2,), V is (N, N/2).
    """

    eigenvalues: Tensor
    P: Tensor
    """(N/2,)"""
    B: Tensor
    """(N/2,), V* B"""
    V: Tensor


def hippo_nplr(N: int) -> NormalPlusLowRank:
    """The split of S4 (Gu et al. 2022, arXiv 2111.00396, theorem 1): A + P P^T = -I/2 + a skew matrix."""
    A, B = hippo_legs(N)
    P = torch.sqrt(torch.arange(N, dtype=torch.float64) + 0.5)
    skew = A + P.unsqueeze(1) * P + 0.5 * torch.eye(N, dtype=torch.float64)
    frequency, V = torch.linalg.eigh(-1j * skew)  # Hermitian, so the frequencies are real and ascending
    frequency, V = frequency[N // 2 :], V[:, N // 2 :]
    project = V.mH
    return NormalPlusLowRank(-0.5 + 1j * frequency, project @ P.to(V.dtype), project @ B.to(V.dtype), V)


def log_uniform(shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Logarithms of numbers that are log-uniform in [low, high]."""
    return torch.rand(shape) * (math.log(high) - math.log(low)) + math.log(low)


def complex_normal(*shape: int, std: float = 1.0) -> Tensor:
    """Complex numbers of E|z|^2 = std^2 as real tensors (*shape, 2)."""
    return torch.randn(*shape, 2) * (std * 0.5**0.5)


def lecun_normal(*shape: int, fan_in: int) -> Tensor:
    """Normal numbers of variance 1 / fan_in, cut at two of the uncut standard deviations (flax's `lecun_normal`)."""
    std = fan_in**-0.5 / 0.8796256610342398  # of a standard normal cut at 2
    return torch.nn.init.trunc_normal_(torch.empty(shape), std=std, a=-2 * std, b=2 * std)


def as_pairs(z: Tensor, *repeat: int) -> Tensor:
    """A complex tensor as float32 (*repeat, *shape, 2), copied `repeat` times."""
    pairs = torch.view_as_real(z.resolve_conj()).float()
    return pairs.expand(*repeat, *pairs.shape).clone()
