"""The state space model and skip path of a SeqBoat layer, without the attention (docs/model.md, steps 1, 2, 8)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.checks import check_same_dtype, check_tokens
from seqboat_lab.nn.dropout import Dropout
from seqboat_lab.nn.mixers.base import BlockOutput
from seqboat_lab.nn.norms import NORMS
from seqboat_lab.nn.ssm import make_ssm


class SSMLayer(nn.Module):
    """x (B, L, d) -> silu(s + x), s = W dropout(silu(SSM(norm(x)))): what a SeqBoat layer that never attends computes,
    without the weights that then have no effect. The interface is that of `SeqBoatLayer`."""

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__()
        self.config = config
        self.norm = NORMS[config.norm](config.d_model)
        self.ssm = make_ssm(config.ssm, config.d_model, config.bidirectional)
        self.skip_proj = nn.Linear(config.d_model, config.d_model)
        self.dropout = Dropout(config.dropout)
        nn.init.trunc_normal_(self.skip_proj.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.skip_proj.bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, state: Any = None) -> BlockOutput:
        check_tokens(x, self.config.d_model, padding_mask)
        check_same_dtype(x, self.skip_proj.bias)
        if state is not None and padding_mask is not None:
            raise ValueError("a carried state goes with unpadded segments; give either state or padding_mask")
        xn = self.norm(x, padding_mask) if self.config.prenorm else x
        m, state = self.ssm(xn, padding_mask, state, need_state=state is not None)
        y = self._combine(x, m)
        return BlockOutput(y if self.config.prenorm else self.norm(y, padding_mask), state)

    def init_state(self, batch: int) -> Any:
        """State of `batch` streams before their first token."""
        if self.config.bidirectional:
            raise ValueError("a bidirectional layer cannot be run step by step; set bidirectional: false")
        return self.ssm.init_state(batch)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, None, Any]:
        """One token of every stream: x (B, d) -> y (B, d), no decision, and the next state."""
        m, state = self.ssm.step(self._norm_token(x) if self.config.prenorm else x, state)
        y = self._combine(x, m)
        return y if self.config.prenorm else self._norm_token(y), None, state

    def _combine(self, x: Tensor, m: Tensor) -> Tensor:
        s = self.skip_proj(self.dropout(F.silu(m.to(self.skip_proj.bias.dtype))))
        return F.silu((s if self.config.bidirectional else self.dropout(s)) + x)

    def _norm_token(self, x: Tensor) -> Tensor:
        return self.norm(x.unsqueeze(1)).squeeze(1)
