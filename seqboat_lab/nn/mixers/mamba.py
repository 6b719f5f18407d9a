"""Mamba-2: a selective state space by state space duality (Dao & Gu 2024, arXiv 2405.21060, sections 6 and 7)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.native.gate import gated
from seqboat_lab.nn.mixers.base import Mixer, SwiGLU
from seqboat_lab.nn.mixers.fast import recurrence
from seqboat_lab.nn.mixers.linear_attention import exact, head_decay_flops
from seqboat_lab.nn.norms import RMSNorm
from seqboat_lab.nn.ssm.base import FLOPs

DT_MIN, DT_MAX = 0.001, 0.1
"""Steps are drawn log-uniformly between."""


class MambaState(NamedTuple):
    recent: Tensor
    """(B, conv - 1, 2 d + 2 N) the convolution's last inputs."""
    h: Tensor
    """(B, heads, N, P)"""


def divide(config: ModelConfig, linear: nn.Linear) -> None:
    with torch.no_grad():
        linear.weight.div_((config.layers * (2 if config.mixer.ffn_ratio else 1)) ** 0.5)


class Mamba(Mixer):
    """W_out RMSNorm((y + D x) * silu(z)), y_t = h_t^T C_t, h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t^T of every head.

    [z, x, B, C, dt] = W_in u; x, B and C pass through a short causal convolution and silu; dt = softplus(dt + bias).
    B and C are the same for all heads. Initialised like the authors' code (state-spaces/mamba, mamba2_simple.py and
    mixer_seq_simple.py's _init_weights): A uniform in -[1, 16], D = 1, weights as torch has them, those that add to
    the residual stream divided by the root of how many do.
    """

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        self.head_decay = recurrence(config, "head_decay")
        d, settings = config.d_model, config.mixer
        self.N, self.inner, self.heads = settings.state_size, 2 * d, 2 * d // settings.head_size
        channels = self.inner + 2 * self.N
        self.in_proj = nn.Linear(d, self.inner + channels + self.heads, bias=False)
        self.conv = nn.Conv1d(channels, channels, settings.conv, groups=channels)
        dt = torch.exp(torch.rand(self.heads) * math.log(DT_MAX / DT_MIN) + math.log(DT_MIN))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # softplus makes it dt
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = RMSNorm(self.inner)
        self.out_proj = nn.Linear(self.inner, d, bias=False)
        divide(config, self.out_proj)

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, state: MambaState | None = None
    ) -> tuple[Tensor, MambaState | None]:
        z, xBC, dt = self.project(x)
        width = self.conv.kernel_size[0] - 1
        before = xBC.new_zeros(len(x), width, xBC.shape[2]) if state is None else state.recent.to(xBC.dtype)
        xBC = torch.cat([before, xBC], 1)
        values, B, C, dt = self.select(self.conv(xBC.mT).mT, dt)
        if padding_mask is not None:  # the convolution still sees real tokens there, and has a bias
            dt = dt.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        with torch.autocast(x.device.type, enabled=False):
            values, B, C, dt = exact(values, B, C, dt)
            log_decay = -(torch.exp(self.A_log) * dt).mT  # (B, heads, L)
            heads = values.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, L, P)
            y, h = self.head_decay(
                C.unsqueeze(1), B.unsqueeze(1), heads * dt.mT.unsqueeze(-1), log_decay, state and state.h
            )
            y = (y + self.D.view(-1, 1, 1) * heads).transpose(1, 2).flatten(2)
        return self.output(y, z), None if state is None else MambaState(xBC[:, xBC.shape[1] - width :], h)

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (..., d) -> z (..., 2 d), what is convolved (..., 2 d + 2 N), dt (..., heads)"""
        return self.in_proj(x).split([self.inner, self.inner + 2 * self.N, self.heads], dim=-1)

    def select(self, convolved: Tensor, dt: Tensor) -> tuple[Tensor, ...]:
        """-> x (..., 2 d), B, C (..., N), dt (..., heads)"""
        values, B, C = F.silu(convolved).split([self.inner, self.N, self.N], dim=-1)
        return values, B, C, F.softplus(exact(dt)[0] + self.dt_bias)

    def output(self, y: Tensor, z: Tensor) -> Tensor:
        return self.out_proj(self.norm(gated(z, y.to(z.dtype)).to(self.norm.weight.dtype)))

    def init_state(self, batch: int) -> MambaState:
        new = self.in_proj.weight.new_zeros
        recent = new(batch, self.conv.kernel_size[0] - 1, self.inner + 2 * self.N)
        return MambaState(recent, exact(new(batch, self.heads, self.N, self.inner // self.heads))[0])

    def step(self, x: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        z, xBC, dt = self.project(x)
        window = torch.cat([state.recent.to(xBC.dtype), xBC.unsqueeze(1)], 1)
        values, B, C, dt = self.select(self.conv(window.mT).squeeze(2), dt)
        with torch.autocast(x.device.type, enabled=False):
            values, B, C, dt = exact(values, B, C, dt)
            heads = values.unflatten(-1, (self.heads, -1))  # (B, heads, P)
            decay = torch.exp(-torch.exp(self.A_log) * dt)[..., None, None]
            h = decay * state.h + B[:, None, :, None] * (dt.unsqueeze(-1) * heads).unsqueeze(2)
            y = torch.einsum("bn,bhnp->bhp", C, h) + self.D.unsqueeze(-1) * heads
        return self.output(y.flatten(1), z), MambaState(window[:, 1:], h)

    @staticmethod
    def feed_forward(config: ModelConfig, number: int = 0) -> Mixer | None:
        if not config.mixer.ffn_ratio:
            return None
        swiglu = SwiGLU(config)
        divide(config, swiglu.fc2)
        return swiglu

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        d, settings = config.d_model, config.mixer
        N, P = settings.state_size, settings.head_size
        heads, channels = 2 * d // P, 2 * d + 2 * N
        projections = 2.0 * d * (2 * d + channels + heads) + 4.0 * d * d
        convolution = 2.0 * channels * settings.conv
        scan = head_decay_flops(heads, N, P, length, shared=True)
        return scan._replace(matmul=projections + convolution + scan.matmul)
