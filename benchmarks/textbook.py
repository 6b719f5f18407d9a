"""The layer as one would first write it down from its equations: the baseline of the benchmark, and an oracle.

Rows are padded to the fullest one, every pair of positions gets a bias (L x L), attention is a full masked matrix
over the compressed tokens, and the EMA is an FFT of twice the length with a kernel from a d x N x L tensor.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.nn import SeqBoatLayer
from seqboat_lab.nn.attention import ATTENTION_FUNCTIONS
from seqboat_lab.nn.positions import rotate


class TextbookLayer(nn.Module):
    """Shares the parameters of a `SeqBoatLayer` with an EMA and a tempered softmax; x (B, L, d) -> (B, L, d)."""

    def __init__(self, layer: SeqBoatLayer):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer, c, attention = self.layer, self.layer.config, self.layer.attention
        B, L, d = x.shape
        xn = layer.norm(x) if c.prenorm else x
        m = F.silu(self.ema(xn))
        u, s = layer.hx_proj(m).split([2, d], dim=-1)
        u = u if u.dtype == torch.float64 else u.float()
        p = torch.softmax(u / layer.configurator.log_temperature.exp(), dim=-1)
        active = p.argmax(-1) == 1  # (B, L)

        counts = active.sum(1)
        n = max(1, int(counts.max()))
        index = torch.argsort(~active, dim=1, stable=True)[:, :n]  # active positions first, in order; (B, n)
        real = torch.arange(n, device=x.device) < counts.unsqueeze(1)  # (B, n)
        packed = m.gather(1, index.unsqueeze(-1).expand(B, n, d))
        zz, gate, v = F.silu(attention.mx_proj(packed)).split([c.d_attention, c.d_hidden, c.d_hidden], dim=-1)
        q, k = (zz * attention.gamma[i] + attention.beta[i] for i in range(2))
        if c.position == "rotary":
            q, k = rotate(q, index), rotate(k, index)
        scores = attention.scale * q @ k.mT + self.bias(index, L)  # (B, n, n)
        rank = torch.arange(n, device=x.device)
        distance = rank.unsqueeze(1) - rank
        near = (distance.abs() <= c.memory_size) & (c.bidirectional | (distance >= 0))
        allowed = near & real.unsqueeze(1) | torch.eye(n, dtype=torch.bool, device=x.device)
        weights = ATTENTION_FUNCTIONS[c.attention](scores.masked_fill(~allowed, float("-inf")))
        y = attention.h_proj((weights @ v) * gate) * p[..., 1].gather(1, index).unsqueeze(-1) * real.unsqueeze(-1)
        out = F.silu(s.scatter_add(1, index.unsqueeze(-1).expand(B, n, d), y) + x)
        return out if c.prenorm else layer.norm(out)

    def ema(self, x: Tensor) -> Tensor:
        ssm, L = self.layer.ssm, x.shape[1]
        p = torch.sigmoid(ssm.delta)
        q = 1 - p * torch.sigmoid(ssm.alpha)
        powers = torch.exp(torch.arange(L, device=x.device) * torch.log(q).unsqueeze(-1))  # (channels, N, L)
        kernel = torch.einsum("dn,dnl->dl", p * ssm.beta * ssm.gamma * ssm.gamma.shape[1] ** -0.5, powers)
        if ssm.truncation is not None:
            kernel = kernel * (torch.arange(L, device=x.device) < ssm.truncation)
        forward, *backward = kernel.chunk(2 if ssm.bidirectional else 1)
        y = self.convolve(x.mT, forward)
        if backward:
            y = y + self.convolve(x.mT.flip(-1), backward[0]).flip(-1)
        return y.mT + ssm.omega * x

    @staticmethod
    def convolve(x: Tensor, kernel: Tensor) -> Tensor:
        L = x.shape[-1]
        return torch.fft.irfft(torch.fft.rfft(x, 2 * L) * torch.fft.rfft(kernel, 2 * L), 2 * L)[..., :L]

    def bias(self, index: Tensor, L: int) -> Tensor | float:
        """The (L, L) matrix of all pairs, then its entries at the active ones: (B, n, n)."""
        c = self.layer.config
        if c.position == "rotary":
            return 0.0
        table, position = self.layer.attention.position.table, torch.arange(L, device=index.device)
        if c.position == "bias":
            distance = (position - position.unsqueeze(1)).clamp(1 - c.max_positions, c.max_positions - 1)
            full = table[distance + c.max_positions - 1]  # (L, L)
            return full[index.unsqueeze(2), index.unsqueeze(1)]
        rank = torch.arange(index.shape[1], device=index.device)
        shifted = rank - rank.unsqueeze(1) + 4 * c.memory_size - 1
        return table[shifted.clamp(0, len(table) - 1)]
