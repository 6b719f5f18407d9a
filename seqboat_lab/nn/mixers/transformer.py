"""Softmax attention to all tokens, with rotary positions (Vaswani et al. 2017, arXiv 1706.03762, section 3.2; Su et al.
2021, arXiv 2104.09864)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers.base import Mixer, gpt2_init
from seqboat_lab.nn.positions import rotate
from seqboat_lab.nn.ssm.base import FLOPs

QUERIES = 256
"""Queries of a segment that are compared with a cache at once."""
OUT_OF_SIGHT = -1e4
"""Score of what is padding; its weight is 0 in every floating-point type."""


class Cache(NamedTuple):
    """What a stream has read: keys, already turned, and values."""

    key: Tensor
    """(B, n, heads, d / heads)"""
    value: Tensor
    """(B, n, heads, d / heads)"""
    position: int
    """Tokens read so far."""


class Attention(Mixer):
    """softmax(q k^T / sqrt(d / heads)) v of every head, side by side, through one more linear map."""

    two_sided = True

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        d, self.heads, self.bidirectional = config.d_model, config.mixer.heads, config.bidirectional
        self.qkv_proj = nn.Linear(d, 3 * d)
        self.out_proj = nn.Linear(d, d)
        gpt2_init(config, self.qkv_proj, self.out_proj)

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, state: Cache | None = None, position: Tensor | None = None
    ) -> tuple[Tensor, Cache | None]:
        """`position` (B, L): where the tokens stood, unless it was side by side."""
        start = 0 if state is None else state.position
        if position is None:
            position = torch.arange(start, start + x.shape[1], device=x.device)
        q, k, v = self.project(x, position)
        if state is None:
            return self.output(self.attend(q, k, v, padding_mask)), None
        k, v = torch.cat([state.key.to(k.dtype), k], 1), torch.cat([state.value.to(v.dtype), v], 1)
        return self.output(self.attend_to_cache(q, k, v)), self.keep(k, v, start + x.shape[1])

    def project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, L, d), position (L,) or (B, L) -> q, k, v (B, L, heads, d / heads)"""
        q, k, v = self.qkv_proj(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        position = position.unsqueeze(-1)  # the same for every head
        return rotate(q, position), rotate(k, position), v

    def output(self, o: Tensor) -> Tensor:
        return self.out_proj(o.flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        scale = q.shape[-1] ** -0.5
        if padding_mask is not None:  # as one more channel: a mask beside `is_causal` would be of size L x L
            hidden = torch.zeros_like(k[..., :1]).masked_fill(padding_mask[..., None, None], OUT_OF_SIGHT / scale)
            q, k, v = F.pad(q, (0, 1), value=1.0), torch.cat([k, hidden], -1), F.pad(v, (0, 1))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, heads, L, .)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=not self.bidirectional, scale=scale).transpose(1, 2)
        return o if padding_mask is None else o[..., :-1]

    def attend_to_cache(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The last tokens' queries to all keys up to themselves, a block of queries at a time."""
        if q.shape[1] == k.shape[1]:
            return self.attend(q, k, v, None)
        first = k.shape[1] - q.shape[1]
        blocks = []
        for start in range(0, q.shape[1], QUERIES):
            block = q[:, start : start + QUERIES].transpose(1, 2)
            seen = first + start + block.shape[2]  # keys up to the block's last query
            ahead = torch.ones(block.shape[2], seen, dtype=torch.bool, device=q.device).triu(first + start + 1)
            keys, values = (t[:, :seen].transpose(1, 2) for t in (k, v))
            blocks.append(F.scaled_dot_product_attention(block, keys, values, ~ahead).transpose(1, 2))
        return torch.cat(blocks, 1)

    def keep(self, k: Tensor, v: Tensor, position: int) -> Cache:
        """The cache, of all keys and values up to now."""
        return Cache(k, v, position)

    def init_state(self, batch: int) -> Cache:
        weight = self.qkv_proj.weight
        empty = weight.new_zeros(batch, 0, self.heads, weight.shape[1] // self.heads)
        return Cache(empty, empty, 0)

    def step(self, x: Tensor, state: Cache) -> tuple[Tensor, Any]:
        y, state = self.forward(x.unsqueeze(1), None, state)  # type: ignore[assignment]  # a state comes back
        return y.squeeze(1), state

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        """Of every pair of tokens, like torch's count; a causal kernel skips about half of them."""
        d = config.d_model
        return FLOPs(8.0 * d * d + 4.0 * d * length, 0.0, 2.0 * d * length)
