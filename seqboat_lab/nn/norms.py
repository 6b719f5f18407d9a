"""Normalisations over the channels, or over batch and length, of (B, L, d) tensors; eps is 1e-5 everywhere."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

EPS = 1e-5


class ScaleNorm(nn.Module):
    """g * x / rms(x) with one scalar g (Nguyen & Salazar 2019, arXiv 1910.05895)."""

    def __init__(self, d_model: int):
        super().__init__()
        self.scalar = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        return self.scalar * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)


class LayerNorm(nn.LayerNorm):
    """Over the channels of each token."""

    def __init__(self, d_model: int, affine: bool = True):
        super().__init__(d_model, eps=EPS, elementwise_affine=affine)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        return super().forward(x)


class RMSNorm(nn.RMSNorm):
    """weight * x / rms(x) (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, d_model: int):
        super().__init__(d_model, eps=EPS)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        return super().forward(x)


class BatchNorm(nn.Module):
    """Per channel over all tokens that are not padding; `sync` also over all processes.

    Padding never enters the statistics, so a batch's padding changes nothing. SyncBatchNorm exists on CUDA
    only; elsewhere, and in a single process, `sync` falls back to the statistics of the own process.
    """

    def __init__(self, d_model: int, sync: bool = False):
        super().__init__()
        self.norm = (nn.SyncBatchNorm if sync else nn.BatchNorm1d)(d_model, eps=EPS)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        if padding_mask is None or not self.training:
            return self._normalise(flat).view_as(x)
        real = (~padding_mask).flatten().nonzero().squeeze(1)
        return flat.index_copy(0, real, self._normalise(flat[real]).to(flat.dtype)).view_as(x)

    def _normalise(self, tokens: Tensor) -> Tensor:
        if isinstance(self.norm, nn.SyncBatchNorm) and not tokens.is_cuda:
            return nn.BatchNorm1d.forward(self.norm, tokens)
        return self.norm(tokens)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layernorm": LayerNorm,
    "batchnorm": BatchNorm,
    "syncbatchnorm": lambda d_model: BatchNorm(d_model, sync=True),
    "scalenorm": ScaleNorm,
    "rmsnorm": RMSNorm,
}
