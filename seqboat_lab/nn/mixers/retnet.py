"""Multi-scale retention (RetNet, Sun et al. 2023, arXiv 2307.08621, section 2)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers.base import Mixer
from seqboat_lab.nn.mixers.linear_attention import exact, head_decay, head_decay_flops
from seqboat_lab.nn.positions import rotate
from seqboat_lab.nn.ssm.base import FLOPs


class RetentionState(NamedTuple):
    S: Tensor
    """(B, heads, d / heads, 2 d / heads)"""
    position: int
    """Tokens read so far."""


class Retention(Mixer):
    """W_O (silu(W_G x) * GroupNorm(o)), o_t = sum_{j <= t} gamma^(t - j) (q_t . k_j) v_j of every head, queries and
    keys turned by their position, gamma = 1 - 2^(-5 - head); v and the gate are 2 d wide (eq. 5-8).

    The group norm makes the scores' normalisations of the paper's section 2.1 void, as it says; they are left out.
    Initialised like the authors' code: Xavier uniform with gain 2^(-5/2), of the output 2^-1.
    """

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        d, self.heads = config.d_model, config.mixer.heads
        self.q_proj, self.k_proj = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.v_proj, self.g_proj = nn.Linear(d, 2 * d, bias=False), nn.Linear(d, 2 * d, bias=False)
        self.out_proj = nn.Linear(2 * d, d, bias=False)
        self.norm = nn.GroupNorm(self.heads, 2 * d)
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.g_proj):
            nn.init.xavier_uniform_(linear.weight, gain=2**-2.5)
        nn.init.xavier_uniform_(self.out_proj.weight, gain=2**-1)

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, state: RetentionState | None = None
    ) -> tuple[Tensor, RetentionState | None]:
        start = 0 if state is None else state.position
        q, k, v = self.project(x, torch.arange(start, start + x.shape[1], device=x.device))
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = exact(q, k, v)
            decay = self.log_decay(v).view(1, -1, 1).expand(1, -1, x.shape[1])
            o, S = head_decay(q, k, v, decay, state and state.S)
        y = self.output(x, o.transpose(1, 2).flatten(2))
        return y, None if state is None else RetentionState(S, start + x.shape[1])

    def log_decay(self, like: Tensor) -> Tensor:
        """log gamma of every head, (heads,)"""
        power = torch.arange(5, 5 + self.heads, device=like.device, dtype=like.dtype)
        return torch.log1p(-(2.0**-power))

    def project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, L, d) -> q, k (B, heads, L, d / heads), v (B, heads, L, 2 d / heads); zeros make zeros"""
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj)
        )
        return rotate(q, position), rotate(k * k.shape[-1] ** -0.5, position), v

    def output(self, x: Tensor, o: Tensor) -> Tensor:
        """o (..., 2 d)"""
        o = self.norm(o.flatten(0, -2).to(self.norm.weight.dtype)).view_as(o)
        return self.out_proj(F.silu(self.g_proj(x)) * o)

    def init_state(self, batch: int) -> RetentionState:
        d = self.q_proj.weight.shape[1]
        S = exact(self.q_proj.weight.new_zeros(batch, self.heads, d // self.heads, 2 * d // self.heads))[0]
        return RetentionState(S, 0)

    def step(self, x: Tensor, state: RetentionState) -> tuple[Tensor, RetentionState]:
        q, k, v = (
            t.squeeze(2) for t in self.project(x.unsqueeze(1), torch.full((1,), state.position, device=x.device))
        )
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = exact(q, k, v)
            S = torch.exp(self.log_decay(v)).view(-1, 1, 1) * state.S + k.unsqueeze(-1) * v.unsqueeze(-2)
            o = torch.einsum("bhk,bhkv->bhv", q, S)
        return self.output(x, o.flatten(1)), RetentionState(S, state.position + 1)

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        d, heads = config.d_model, config.mixer.heads
        retention = head_decay_flops(heads, d // heads, 2 * d // heads, length, shared=False)
        return retention._replace(matmul=16.0 * d * d + retention.matmul)
