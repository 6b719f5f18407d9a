"""Multi-scale retention (RetNet, Sun et al. 2023, arXiv 2307.08621, section 2)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.native.gate import gated
from seqboat_lab.nn.mixers.base import MLP, Mixer
from seqboat_lab.nn.mixers.fast import recurrence
from seqboat_lab.nn.mixers.linear_attention import exact, head_decay_flops
from seqboat_lab.nn.positions import turn
from seqboat_lab.nn.ssm.base import FLOPs

NORM_EPS = 1e-6
"""Of the norm of each head, as in the authors' code."""


class RetentionState(NamedTuple):
    S: Tensor
    """(B, heads, d / heads, 2 d / heads)"""
    position: int
    """Tokens read so far."""


class Retention(Mixer):
    """W_O (silu(W_G x) * Norm(o)), o_t = sum_{j <= t} gamma^(t - j) (q_t . k_j) v_j of every head, queries and keys
    turned by their position, gamma = 1 - 2^(-5 - head); v and the gate are 2 d wide (eq. 5-8).

    Like the authors' code (microsoft/torchscale, multiscale_retention.py): the norm of a head divides by its root mean
    square and has no weights; angles fall from 1 to 1/10000, both included; weights start Xavier uniform with gain
    2^(-5/2), of the output 2^-1, and those of the feed-forward part as torch has them. The norm makes the scores'
    normalisations of the paper's section 2.1 void, as it says; they are left out.
    """

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        self.head_decay = recurrence(config, "head_decay")
        d, self.heads = config.d_model, config.mixer.heads
        self.q_proj, self.k_proj = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.v_proj, self.g_proj = nn.Linear(d, 2 * d, bias=False), nn.Linear(d, 2 * d, bias=False)
        self.out_proj = nn.Linear(2 * d, d, bias=False)
        self.norm = nn.RMSNorm(2 * d // self.heads, eps=NORM_EPS, elementwise_affine=False)
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
            o, S = self.head_decay(q, k, v, decay, state and state.S)
        return self.output(x, o.transpose(1, 2)), None if state is None else RetentionState(S, start + x.shape[1])

    def log_decay(self, like: Tensor) -> Tensor:
        """log gamma of every head, (heads,)"""
        power = torch.arange(5, 5 + self.heads, device=like.device, dtype=like.dtype)
        return torch.log1p(-(2.0**-power))

    def project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, L, d) -> q, k (B, heads, L, d / heads), v (B, heads, L, 2 d / heads); zeros make zeros"""
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj)
        )
        theta = 10000.0 ** -torch.linspace(0, 1, q.shape[-1] // 2, device=x.device, dtype=torch.float64)
        return turn(q, position, theta), turn(k * k.shape[-1] ** -0.5, position, theta), v

    def output(self, x: Tensor, o: Tensor) -> Tensor:
        """o (..., heads, 2 d / heads)"""
        o = self.norm(o.to(self.out_proj.weight.dtype)).flatten(-2)
        return self.out_proj(gated(self.g_proj(x), o))

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
        return self.output(x, o), RetentionState(S, state.position + 1)

    @staticmethod
    def feed_forward(config: ModelConfig, number: int = 0) -> Mixer | None:
        if not config.mixer.ffn_ratio:
            return None
        mlp = MLP(config)
        for linear in (mlp.fc1, mlp.fc2):
            linear.reset_parameters()
        return mlp

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        d, heads = config.d_model, config.mixer.heads
        retention = head_decay_flops(heads, d // heads, 2 * d // heads, length, shared=False)
        return retention._replace(matmul=16.0 * d * d + retention.matmul)
