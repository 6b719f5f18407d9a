"""Linear attention with decay, chunk by chunk: S_t = a_t S_{t-1} + k_t v_t^T, o_t = S_t^T q_t.

Inside a chunk of T tokens all pairs are compared through small matrix products, between chunks only the state S is
carried: O(L T) work, a loop over L / T chunks, and no exponent that strong decays could make overflow. (Dao & Gu
2024, arXiv 2405.21060, section 6, for one decay a head; Yang et al. 2024, arXiv 2312.06635, section 4.3, for one a
channel of the keys.) All in float32 or better, as the powers of decays near 1 need it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.nn.ssm.base import FLOPs

HEAD_CHUNK = 64
CHANNEL_CHUNK, SUB = 32, 8
"""Tokens of a chunk, and of a part of it whose decays are written as products of a query's and a key's factor."""
STRONGEST = -16.0
"""Least log decay of a channel and token: e^-16 is what float32 rounds away, and 4 of them fit its range."""


def exact(*tensors: Tensor) -> list[Tensor]:
    return [t if t.dtype == torch.float64 else t.float() for t in tensors]


def head_decay(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One decay per head and token.

    Args:
        q, k: (B, H or 1, L, K), shared by all heads if 1.
        v: (B, H, L, V).
        log_decay: (B or 1, H, L), at most 0: S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T.
        state: (B, H, K, V), S before the first token; None = 0.

    Returns: o (B, H, L, V) with o_t = S_t^T q_t, and S after the last token.
    """
    L = v.shape[2]
    T = min(HEAD_CHUNK, L)
    q, k, v = (_chunks(t, T) for t in (q, k, v))
    cum = _chunks(log_decay.unsqueeze(-1), T).cumsum(3)  # (B or 1, H, n, T, 1)
    ahead = torch.ones(T, T, dtype=torch.bool, device=v.device).triu(1)
    inside = torch.exp((cum - cum.mT).masked_fill(ahead, -torch.inf))
    o = ((q @ k.mT) * inside) @ v
    total = cum[:, :, :, -1:]
    edges, last = _carry(k.mT @ (v * torch.exp(total - cum)), torch.exp(total), state)
    o = o + torch.exp(cum) * (q @ edges)
    return o.flatten(2, 3)[:, :, :L], last


def channel_decay(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None, before: bool = False
) -> tuple[Tensor, Tensor]:
    """One decay per channel of the keys and token.

    Args:
        q, k: (B, H, L, K); v: (B, H, L, V).
        log_decay: (B, H, L, K), from STRONGEST to 0: S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T.
        state: (B, H, K, V), S before the first token; None = 0.
        before: o_t = S_{t-1}^T q_t, which leaves out the token itself; else S_t^T q_t.

    Returns: o (B, H, L, V), and S after the last token.
    """
    L = v.shape[2]
    T = min(CHANNEL_CHUNK, -(-L // SUB) * SUB)
    q, k, v, log_decay = (_chunks(t, T) for t in (q, k, v, log_decay))
    cum = log_decay.cumsum(3)  # (B, H, n, T, K): a key's decay up to its own token
    seen = cum - log_decay if before else cum  # a query's
    causal = torch.ones(T, T, dtype=torch.bool, device=q.device).tril(-1 if before else 0)
    scores = []
    for start in range(0, T, SUB):
        here, keys = slice(start, start + SUB), slice(0, start + SUB)
        middle = cum[..., start + SUB // 2 - 1, None, :]
        queries = q[..., here, :] * torch.exp(seen[..., here, :] - middle)
        pairs = queries @ (k[..., keys, :] * torch.exp(middle - cum[..., keys, :])).mT
        scores.append(F.pad(pairs.masked_fill(~causal[here, keys], 0.0), (0, T - start - SUB)))
    total = cum[:, :, :, -1:]
    edges, last = _carry((k * torch.exp(total - cum)).mT @ v, torch.exp(total).mT, state)
    o = torch.cat(scores, 3) @ v + (q * torch.exp(seen)) @ edges
    return o.flatten(2, 3)[:, :, :L], last


def _chunks(x: Tensor, T: int) -> Tensor:
    """(B, H, L, .) -> (B, H, n, T, .); what fills the last chunk adds nothing and decays nothing."""
    B, H, L, width = x.shape
    fill = x.new_zeros(B, H, -L % T, width)  # F.pad by 0 has other strides than torch.compile expects
    return torch.cat([x, fill], 2).unflatten(2, (-1, T))


def _carry(added: Tensor, decay: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """What every chunk adds (B, H, n, K, V) and leaves of what came before (B or 1, H, n, K or 1, 1) -> the state at
    each chunk's left edge, and after the last one."""
    h = torch.zeros_like(added[:, :, 0]) if state is None else state
    edges = []
    for more, left in zip(added.unbind(2), decay.unbind(2), strict=True):
        edges.append(h)
        h = left * h + more
    return torch.stack(edges, 2), h


def head_decay_flops(heads: int, key: int, value: int, length: int, shared: bool) -> FLOPs:
    """Matrix products of `head_decay` per token; `shared`: queries and keys are the same for all heads."""
    T = min(HEAD_CHUNK, length)
    scores = 2 * T * key * (1 if shared else heads)
    return _flops(scores + heads * 2 * T * value, heads * 2 * key * value, T, length)


def channel_decay_flops(heads: int, key: int, value: int, length: int) -> FLOPs:
    """Matrix products of `channel_decay` per token."""
    T = min(CHANNEL_CHUNK, -(-length // SUB) * SUB)
    return _flops(heads * ((T + SUB) * key + 2 * T * value), heads * 2 * key * value, T, length)


def _flops(inside: float, state: float, T: int, length: int) -> FLOPs:
    """Of products inside chunks of T, and two with a state, which of a single chunk is 0: what it leaves has no
    gradient, and what it brings needs none."""
    chunks = -(-length // T)
    fill = chunks * T / length
    return FLOPs(fill * (inside + 2 * state), 0.0, -3 * fill * state if chunks == 1 else 0.0)
