"""Gated attention over the working memory of active tokens (docs/model.md, step 6)."""

from collections.abc import Iterable
from itertools import repeat
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.native.gate import gated
from seqboat_lab.nn.dropout import Dropout
from seqboat_lab.nn.positions import POSITIONS
from seqboat_lab.nn.tiles import ATTENTION_FUNCTIONS, TileAttention
from seqboat_lab.nn.tiling import Tiling


class Memory(NamedTuple):
    """Working memory of a batch of streams: ring buffers of each row's last w active tokens.

    The token of rank r stands in slot r mod w, so `count` says which slots are filled.
    """

    key: Tensor
    """(B, w, z)"""
    value: Tensor
    """(B, w, h)"""
    position: Tensor
    """(B, w) original positions."""
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody calls
    """(B,) active tokens so far."""


def parts(linear: nn.Linear, x: Tensor, sizes: list[int]) -> Iterable[Tensor]:
    """The outputs of `linear` of the given sizes. In training each is a product with a gradient of its own: those of
    parts of one product would be copied together first."""
    if not torch.is_grad_enabled():
        return linear(x).split(sizes, dim=-1)
    return map(F.linear, repeat(x), linear.weight.split(sizes), linear.bias.split(sizes))


def rows_times(held: Tensor, row: Tensor, x: Tensor) -> Tensor:
    """held[row] x: (B, a, b), row (n,), x (n, b) -> (n, a). On CPUs without a copy of held[row], which takes
    longer than the products."""
    if held.device.type == "cpu":
        return torch.stack([held[r] @ each for r, each in zip(row.tolist(), x, strict=True)])
    return torch.bmm(held if len(row) == len(held) else held[row], x.unsqueeze(2)).squeeze(2)


class WorkingMemoryAttention(nn.Module):
    """The gated attention unit: projections of active tokens, local attention among them, gate, output."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, self.h, self.z, self.w = config.d_model, config.d_hidden, config.d_attention, config.memory_size
        self.bidirectional = config.bidirectional
        self.weigh_values = config.confidence_on == "output_and_value"
        self.function = ATTENTION_FUNCTIONS[config.attention]
        self.tiles = TileAttention(config.attention, config.attention_backend)
        window = 2 * self.w if config.bidirectional else self.w
        self.scale = self.z**-0.5 if config.attention == "softmax" else 1 / window
        self.mx_proj = nn.Linear(d, self.z + 2 * self.h)
        self.h_proj = nn.Linear(self.h, d)
        self.gamma = nn.Parameter(torch.empty(2, self.z))
        self.beta = nn.Parameter(torch.zeros(2, self.z))
        nn.init.trunc_normal_(self.gamma, std=0.02, a=-0.04, b=0.04)
        self.position = POSITIONS[config.position](config.max_positions, self.w)
        self.dropout = Dropout(config.dropout if config.bidirectional else 0.0)
        self.hidden_dropout = Dropout(config.hidden_dropout)

    def project(self, m: Tensor, position: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """m (n, d), confidence (n, 1) -> q, k (n, z), v and what the gate is made of (n, h)."""
        zz, gate, v = parts(self.mx_proj, m, [self.z, self.h, self.h])
        zz = F.silu(zz)
        v = gated(v, confidence.to(v.dtype)) if self.weigh_values else F.silu(v)
        q = self.position.rotate(torch.addcmul(self.beta[0], zz, self.gamma[0]), position)
        k = self.position.rotate(torch.addcmul(self.beta[1], zz, self.gamma[1]), position)
        return q, k, self.hidden_dropout(v), gate

    def forward(
        self,
        m: Tensor,
        row: Tensor,
        position: Tensor,
        confidence: Tensor,
        memory: Memory | None = None,
        need_memory: bool = False,
    ) -> tuple[Tensor, Memory | None]:
        """Packed active tokens m (n, d), ordered by row and position, -> (n, d).

        Args:
            row, position: (n,) each token's row of the batch and original position.
            confidence: (n, 1) of each token; weighs its value if the config says so.
            memory: what earlier segments left (causal only).
            need_memory: also return the memory after these tokens.
        """
        q, k, v, gate = self.project(m, position, confidence)
        if memory is None:
            o = self.attend(q, k, v, row, position)
            return self.output(o, gate), None
        o, memory = self._attend_from(memory, q, k, v, row, position)
        return self.output(o, gate), memory if need_memory else None

    def output(self, o: Tensor, gate: Tensor) -> Tensor:
        return self.dropout(self.h_proj(gated(gate, o.to(gate.dtype))))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, row: Tensor, position: Tensor) -> Tensor:
        """Each token against the keys of its row that are at most w slots away; q, k (n, z), v (n, h) -> (n, h)."""
        tiling = Tiling(row, position, self.w, self.bidirectional)
        return self.tiles(q, k, v, tiling, self.position, self.scale)

    def init_memory(self, batch: int) -> Memory:
        """Empty working memory of `batch` rows."""
        new = self.gamma.new_zeros
        positions = torch.zeros(batch, self.w, dtype=torch.long, device=self.gamma.device)
        return Memory(new(batch, self.w, self.z), new(batch, self.w, self.h), positions, positions.new_zeros(batch))

    def step(self, m: Tensor, row: Tensor, position: int, confidence: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """One token of each of the rows `row` (n,): m (n, d) -> (n, d). Cost O(w), whatever came before.

        Without gradients the memory is updated in place: the one passed in must not be used again.
        """
        here = torch.full_like(row, position)
        q, k, v, gate = self.project(m, here, confidence)
        held_position, count = memory.position[row], memory.count[row]
        age = 1 + (count.unsqueeze(1) - 1 - torch.arange(self.w, device=m.device)) % self.w  # 1..w; (n, w)
        outside = F.pad(age > count.unsqueeze(1), (0, 1), value=False)  # the token itself comes last; (n, w+1)
        distance = F.pad(held_position - position, (0, 1))
        bias = self.position(distance, F.pad(-age, (0, 1)), outside)
        scores = torch.cat([rows_times(memory.key, row, q), (q * k).sum(-1, keepdim=True)], dim=1)
        p = self.function(bias + self.scale * scores).to(v.dtype)  # (n, w+1)
        o = rows_times(memory.value.mT, row, p[:, :-1]) + p[:, -1:] * v
        return self.output(o, gate), self._remember(
            memory, row, k, v, here, count, in_place=not torch.is_grad_enabled()
        )

    def _remember(
        self, memory: Memory, row: Tensor, k: Tensor, v: Tensor, position: Tensor, rank: Tensor, in_place: bool
    ) -> Memory:
        """Memory with tokens of the given rows and ranks written over the oldest ones."""
        where = (row, rank % self.w)
        count = memory.count.index_add(0, row, torch.ones_like(row))
        new = (k.to(memory.key.dtype), v.to(memory.value.dtype), position)
        if not in_place:
            written = (old.index_put(where, t) for old, t in zip(memory[:3], new, strict=True))
        else:
            written = (old.index_put_(where, t) for old, t in zip(memory[:3], new, strict=True))
        key, value, held_position = written
        return Memory(key, value, held_position, count)

    def _attend_from(
        self, memory: Memory, q: Tensor, k: Tensor, v: Tensor, row: Tensor, position: Tensor
    ) -> tuple[Tensor, Memory]:
        """A segment whose rows go on where `memory` ended: held tokens stand before the new ones as keys."""
        w, n = self.w, len(row)
        rank = memory.count.unsqueeze(1) - w + torch.arange(w, device=q.device)  # (B, w), oldest first
        held_row, place = (rank >= 0).nonzero(as_tuple=True)
        slot = rank[held_row, place] % w
        held = [t[held_row, slot] for t in memory[:3]]
        order = torch.cat([held_row, row]).argsort(stable=True)
        all_q, all_k, all_v, all_position = (
            torch.cat([old.to(t.dtype), t])[order]
            for old, t in zip((torch.zeros_like(held[0]), *held), (q, k, v, position), strict=True)
        )
        o = self.attend(all_q, all_k, all_v, torch.cat([held_row, row])[order], all_position)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        o = o[place[len(held_row) :]]

        added = torch.bincount(row, minlength=len(memory.count))
        rank = memory.count[row] + torch.arange(n, device=row.device) - (added.cumsum(0) - added)[row]
        keep = rank >= (memory.count + added)[row] - w
        kept = self._remember(memory, row[keep], k[keep], v[keep], position[keep], rank[keep], in_place=False)
        return o, kept._replace(count=memory.count + added)
