"""Softmax attention to the tokens in a window around (Longformer's, Beltagy et al. 2020, arXiv 2004.05150)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers.transformer import Attention, Cache
from seqboat_lab.nn.ssm.base import FLOPs


def tiling(window: int, bidirectional: bool) -> tuple[int, int, int]:
    """T queries a tile, and how many tiles of keys before and behind their own they are compared with."""
    T = min(max(16, window), 64)
    back = -(-window // T)
    return T, back, back if bidirectional else 0


class LocalAttention(Attention):
    """`Attention` whose query i sees the key j if 0 <= i - j <= w, or |i - j| <= w where it is bidirectional."""

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        self.window = config.mixer.window

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        B, L, _, _ = q.shape
        T, back, ahead = tiling(self.window, self.bidirectional)
        tiles = -(-L // T)
        width = (back + 1 + ahead) * T
        fill = tiles * T - L
        around = (0, 0, 0, 0, back * T, ahead * T + fill)
        q = F.pad(q, (0, 0, 0, 0, 0, fill)).unflatten(1, (tiles, T))
        k, v = self.neighbours(F.pad(k, around), T, tiles), self.neighbours(F.pad(v, around), T, tiles)
        real = q.new_ones(1, L, dtype=torch.bool) if padding_mask is None else ~padding_mask
        real = F.pad(real, (back * T, ahead * T + fill)).unfold(1, width, T)  # (B or 1, tiles, width)
        offset = torch.arange(width, device=q.device) - back * T - torch.arange(T, device=q.device).unsqueeze(1)
        near = (offset >= -self.window) & (offset <= (self.window if self.bidirectional else 0))  # (T, width)
        allowed = (near & real.unsqueeze(2)) | (offset == 0)  # a token that is padding sees at least itself
        q, k, v = (t.flatten(0, 1).transpose(1, 2) for t in (q, k, v))  # (B * tiles, heads, T or width, .)
        mask = allowed.expand(B, tiles, T, width).flatten(0, 1).unsqueeze(1)
        return (
            F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).unflatten(0, (B, tiles)).flatten(1, 2)[:, :L]
        )

    @staticmethod
    def neighbours(x: Tensor, T: int, tiles: int) -> Tensor:
        """(B, slots, heads, .) -> (B, tiles, width, heads, .): each tile's keys, with its neighbours'."""
        x = x.unflatten(1, (-1, T))
        return torch.cat([x[:, i : i + tiles] for i in range(x.shape[1] - tiles + 1)], dim=2)

    def attend_to_cache(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        held = k.shape[1] - q.shape[1]  # at most w
        if q.shape[1] == 1:
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.attend(F.pad(q, (0, 0, 0, 0, held, 0)), k, v, None)[:, held:]

    def keep(self, k: Tensor, v: Tensor, position: int) -> Cache:
        """The last w keys and values."""
        return Cache(k[:, -self.window :], v[:, -self.window :], position)

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        """Of the tiles that are computed, the last one's fill included."""
        d = config.d_model
        T, back, ahead = tiling(config.mixer.window, config.bidirectional)
        keys = (back + 1 + ahead) * T * -(-length // T) * T / length
        return FLOPs(8.0 * d * d + 4.0 * d * keys, 0.0, 2.0 * d * keys)
