"""RWKV-6 "Finch" (Peng et al. 2024, arXiv 2404.05892, section 4): time mixing and channel mixing."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers.base import Mixer, ffn_width
from seqboat_lab.nn.mixers.fast import recurrence
from seqboat_lab.nn.mixers.linear_attention import STRONGEST, channel_decay_flops, exact
from seqboat_lab.nn.ssm.base import FLOPs

NORM_EPS = 64e-5
"""Of the group norm, as in the authors' code: head outputs start small."""


class TimeMixState(NamedTuple):
    last: Tensor
    """(B, d) the token before."""
    S: Tensor
    """(B, heads, d / heads, d / heads)"""


def shift(x: Tensor, last: Tensor | None) -> Tensor:
    """x (B, L, d) one token later, `last` (B, d) first (None = zeros)."""
    first = x.new_zeros(len(x), 1, x.shape[2]) if last is None else last.unsqueeze(1).to(x.dtype)
    return torch.cat([first, x[:, :-1]], 1)


def orthogonal(linear: nn.Linear, scale: float) -> None:
    """Orthogonal with the given gain; 0 = zeros."""
    if scale:
        nn.init.orthogonal_(linear.weight, gain=scale)
    else:
        nn.init.zeros_(linear.weight)


class TimeMix(Mixer):
    """W_o (silu(g) * GroupNorm(o)), o_t = (S_{t-1} + diag(u) k_t v_t^T)^T r_t, S_t = diag(w_t) S_{t-1} + k_t v_t^T of
    every head (eq. 16-20).

    r, k, v, g are linear maps, and d = log(-log w) a low-rank one, of mixtures of x_t and x_{t-1} whose share depends
    on both: ddlerp(a, b) = a + (b - a) (lambda + tanh(m A) B) with m = a + (b - a) mu.

    Initialised like the authors' code (BlinkDL/RWKV-LM, RWKV-v5/src/model.py, RWKV_Tmix_x060 and generate_init_weight
    as of May 2024): ramps over the channels that depend on the layer, orthogonal maps, zeros for the output.
    """

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        self.channel_decay = recurrence(config, "channel_decay")
        d, rank, self.heads = config.d_model, config.mixer.lora, config.mixer.heads
        depth = number / max(1, config.layers - 1)  # 0 in the first layer, 1 in the last
        left = 1 - number / config.layers
        channel = torch.arange(d) / d
        self.mu = nn.Parameter(1 - channel**left)
        early = [1 - channel**left, 1 - channel ** (left / 2), 1 - channel**left]
        late = [1 - (channel**left + 0.3 * depth), 1 - channel ** (left / 2)]
        self.lam = nn.Parameter(torch.stack([*early, *late]).flatten())  # of d, r, k, v, g
        self.mix_down = nn.Parameter(torch.zeros(d, 5 * rank))
        self.mix_up = nn.Parameter(torch.empty(5, rank, d).uniform_(-0.01, 0.01))
        place = torch.arange(d) / max(1, d - 1)
        self.decay = nn.Parameter(-6 + 5 * place ** (0.7 + 1.3 * depth))
        self.decay_down = nn.Parameter(torch.zeros(d, 2 * rank))
        self.decay_up = nn.Parameter(torch.empty(2 * rank, d).uniform_(-0.01, 0.01))
        self.u = nn.Parameter(depth * (1 - place) + 0.1 * ((torch.arange(d) + 1) % 3 - 1))
        self.r_proj, self.k_proj, self.v_proj, self.g_proj, self.out_proj = (
            nn.Linear(d, d, bias=False) for _ in range(5)
        )
        for linear, scale in (
            (self.r_proj, 1),
            (self.k_proj, 0.1),
            (self.v_proj, 1),
            (self.g_proj, 0.1),
            (self.out_proj, 0),
        ):
            orthogonal(linear, scale)
        self.norm = nn.GroupNorm(self.heads, d, eps=NORM_EPS)
        nn.init.constant_(self.norm.weight, ((1 + number) / config.layers) ** 0.7)

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, state: TimeMixState | None = None
    ) -> tuple[Tensor, TimeMixState | None]:
        r, k, v, log_w, gate = self.project(x, shift(x, state and state.last))
        if padding_mask is not None:  # the token behind a real one still mixes some of it in
            k = k.masked_fill(padding_mask[:, None, :, None], 0.0)
        with torch.autocast(x.device.type, enabled=False):
            r, k, v, log_w = exact(r, k, v, log_w)
            o, S = self.channel_decay(r, k, v, log_w, state and state.S, before=True)
            o = o + (r * self.bonus(k)).sum(-1, keepdim=True) * v
        return self.output(o.transpose(1, 2).flatten(2), gate), None if state is None else TimeMixState(x[:, -1], S)

    def bonus(self, k: Tensor) -> Tensor:
        """u k, (B, heads, L, K)"""
        return self.u.view(self.heads, 1, -1).to(k.dtype) * k

    def project(self, x: Tensor, before: Tensor) -> list[Tensor]:
        """x and the tokens before (B, L, d) -> r, k, v, log w (B, heads, L, d / heads), gate (B, L, d)"""
        difference = before - x
        low = torch.tanh((x + difference * self.mu) @ self.mix_down).unflatten(-1, (5, -1))  # (B, L, 5, rank)
        share = self.lam.view(5, -1) + torch.einsum("blir,ird->blid", low, self.mix_up)
        for_d, for_r, for_k, for_v, for_g = (x.unsqueeze(2) + difference.unsqueeze(2) * share).unbind(2)
        d = self.decay + torch.tanh(for_d @ self.decay_down) @ self.decay_up
        log_w = -torch.exp(exact(d)[0]).clamp(max=-STRONGEST)
        parts = (self.r_proj(for_r), self.k_proj(for_k), self.v_proj(for_v), log_w)
        heads = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in parts]
        return [*heads, F.silu(self.g_proj(for_g))]

    def output(self, o: Tensor, gate: Tensor) -> Tensor:
        """o, gate (..., d)"""
        o = self.norm(o.flatten(0, -2).to(self.norm.weight.dtype)).view_as(o)
        return self.out_proj(gate * o)

    def init_state(self, batch: int) -> TimeMixState:
        new, d = self.out_proj.weight.new_zeros, self.out_proj.weight.shape[0]
        return TimeMixState(new(batch, d), exact(new(batch, self.heads, d // self.heads, d // self.heads))[0])

    def step(self, x: Tensor, state: TimeMixState) -> tuple[Tensor, TimeMixState]:
        *projected, gate = self.project(x.unsqueeze(1), state.last.unsqueeze(1))
        with torch.autocast(x.device.type, enabled=False):
            r, k, v, log_w = exact(*projected)  # (B, heads, 1, .)
            new = k.mT @ v
            o = r @ state.S + (r * self.bonus(k)).sum(-1, keepdim=True) * v
            S = torch.exp(log_w).mT * state.S + new
        return self.output(o.flatten(1), gate.squeeze(1)), TimeMixState(x, S)

    @staticmethod
    def feed_forward(config: ModelConfig, number: int = 0) -> Mixer | None:
        return ChannelMix(config, number) if config.mixer.ffn_ratio else None

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        d, heads, rank = config.d_model, config.mixer.heads, config.mixer.lora
        attention = channel_decay_flops(heads, d // heads, d // heads, length)
        return attention._replace(matmul=10.0 * d * d + 28.0 * d * rank + attention.matmul)


class ChannelMix(Mixer):
    """sigmoid(W_r r) * W_v relu(W_k k)^2, r and k mixtures of x_t and x_{t-1} (eq. 21-23). Starts like `TimeMix`."""

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        d = config.d_model
        left = 1 - number / config.layers
        self.mu = nn.Parameter((1 - (torch.arange(d) / d) ** left).repeat(2))  # of k, r
        self.k_proj = nn.Linear(d, ffn_width(config), bias=False)
        self.r_proj = nn.Linear(d, d, bias=False)
        self.v_proj = nn.Linear(ffn_width(config), d, bias=False)
        for linear, scale in ((self.k_proj, 1), (self.r_proj, 0), (self.v_proj, 0)):
            orthogonal(linear, scale)

    def mix(self, x: Tensor, before: Tensor) -> Tensor:
        for_k, for_r = (x + (before - x) * mu for mu in self.mu.chunk(2))
        return torch.sigmoid(self.r_proj(for_r)) * self.v_proj(F.relu(self.k_proj(for_k)).square())

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        return self.mix(x, shift(x, state)), None if state is None else x[:, -1]

    def init_state(self, batch: int) -> Tensor:
        return self.r_proj.weight.new_zeros(batch, len(self.r_proj.weight))

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.mix(x, state), x

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        d = config.d_model
        return FLOPs(2.0 * d * d + 4.0 * d * ffn_width(config), 0.0)
