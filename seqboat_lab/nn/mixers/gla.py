"""Gated linear attention (GLA, Yang et al. 2024, arXiv 2312.06635, section 4.4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.native.gate import gated
from seqboat_lab.nn.mixers.base import Mixer, SwiGLU, normal
from seqboat_lab.nn.mixers.fast import recurrence
from seqboat_lab.nn.mixers.linear_attention import STRONGEST, channel_decay_flops, exact
from seqboat_lab.nn.norms import EPS
from seqboat_lab.nn.ssm.base import FLOPs

SHARPNESS = 16
"""tau: the decays' root, which starts them near 1."""


class GatedLinearAttention(Mixer):
    """W_O (silu(W_R x + b) * LayerNorm(o)), o_t = S_t^T q_t, S_t = diag(alpha_t) S_{t-1} + k_t v_t^T of every head,
    alpha = sigmoid(W_2 W_1 x + b)^(1/16); queries and keys are d / 2 wide. The state is S (B, heads, K, V).

    Like the authors' code (berlino/gated_linear_attention): q is divided by sqrt(K) and k by sqrt(V), which matters
    only beside the norm's eps; the norm has no weights; queries, keys and decays start Xavier uniform with gain
    2^(-5/2), other maps, the feed-forward part's too, normal with std 0.02, biases 0.
    """

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        self.channel_decay = recurrence(config, "channel_decay")
        d, self.heads = config.d_model, config.mixer.heads
        self.qk_proj = nn.Linear(d, d, bias=False)
        self.v_proj = nn.Linear(d, d, bias=False)
        self.alpha_down, self.alpha_up = (
            nn.Linear(d, config.mixer.gate_rank, bias=False),
            nn.Linear(config.mixer.gate_rank, d // 2),
        )
        self.gate_proj = nn.Linear(d, d)
        self.out_proj = nn.Linear(d, d, bias=False)
        self.norm = nn.LayerNorm(d // self.heads, eps=EPS, elementwise_affine=False)
        normal(self.v_proj, self.gate_proj, self.out_proj)
        for weight in (*self.qk_proj.weight.chunk(2), self.alpha_down.weight, self.alpha_up.weight):
            nn.init.xavier_uniform_(weight, gain=2**-2.5)
        nn.init.zeros_(self.alpha_up.bias)

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        q, k, v, log_alpha = self.project(x)
        with torch.autocast(x.device.type, enabled=False):
            q, k, v, log_alpha = exact(q, k, v, log_alpha)
            o, S = self.channel_decay(q, k, v, log_alpha, state)
        return self.output(x, o.transpose(1, 2)), None if state is None else S

    def project(self, x: Tensor) -> list[Tensor]:
        """x (B, L, d) -> q, k (B, heads, L, K), v (B, heads, L, V), log alpha (B, heads, L, K); zeros make no k, v"""
        q, k = self.qk_proj(x).chunk(2, dim=-1)
        log_alpha = (F.logsigmoid(self.alpha_up(self.alpha_down(x))) / SHARPNESS).clamp(min=STRONGEST)
        heads = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, self.v_proj(x), log_alpha)]
        q, k, v, _ = heads
        return [q * q.shape[-1] ** -0.5, k * v.shape[-1] ** -0.5, *heads[2:]]

    def output(self, x: Tensor, o: Tensor) -> Tensor:
        """o (..., heads, V)"""
        o = self.norm(o.to(self.out_proj.weight.dtype)).flatten(-2)
        return self.out_proj(gated(self.gate_proj(x), o))

    def init_state(self, batch: int) -> Tensor:
        d = self.v_proj.weight.shape[0]
        return exact(self.v_proj.weight.new_zeros(batch, self.heads, d // 2 // self.heads, d // self.heads))[0]

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        projected = self.project(x.unsqueeze(1))
        with torch.autocast(x.device.type, enabled=False):
            q, k, v, log_alpha = (t.squeeze(2) for t in exact(*projected))
            state = torch.exp(log_alpha).unsqueeze(-1) * state + k.unsqueeze(-1) * v.unsqueeze(-2)
            o = torch.einsum("bhk,bhkv->bhv", q, state)
        return self.output(x, o), state

    @staticmethod
    def feed_forward(config: ModelConfig, number: int = 0) -> Mixer | None:
        if not config.mixer.ffn_ratio:
            return None
        swiglu = SwiGLU(config)
        normal(swiglu.fc1, swiglu.fc2)
        return swiglu

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        d, heads, rank = config.d_model, config.mixer.heads, config.mixer.gate_rank
        attention = channel_decay_flops(heads, d // 2 // heads, d // heads, length)
        return attention._replace(matmul=8.0 * d * d + 3.0 * d * rank + attention.matmul)
