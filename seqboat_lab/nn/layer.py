"""One SeqBoat layer: SSM, latent configurator, compress, gated attention, extract (Ren et al. 2023, section 3)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.attention import Memory, WorkingMemoryAttention
from seqboat_lab.nn.checks import check_same_dtype, check_streams, check_tokens, refuse_tracing
from seqboat_lab.nn.configurator import Decision, make_configurator
from seqboat_lab.nn.dropout import Dropout
from seqboat_lab.nn.norms import NORMS
from seqboat_lab.nn.packing import compress, extract, pack
from seqboat_lab.nn.ssm import make_ssm


class LayerState(NamedTuple):
    """What a causal layer remembers of the tokens it has read."""

    ssm: Any
    memory: Memory
    position: int
    """Tokens read so far."""


class LayerOutput(NamedTuple):
    y: Tensor
    """(B, L, d)"""
    active: Tensor
    """(B, L) bool: where attention ran; False on padding."""
    confidence: Tensor
    """(B, L) weight of the attention's output, 0 where inactive."""
    state: Any = None
    """A `LayerState` after the last token, where a state was passed in."""
    evidence: Tensor | None = None
    """(B, L) log-odds of activation, of inactive tokens too; None where the input decides nothing."""


class SeqBoatLayer(nn.Module):
    """x (B, L, d) -> y (B, L, d). `forward` reads whole sequences or segments, `step` one token at a time."""

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__()
        self.config = config
        d = config.d_model
        self.norm = NORMS[config.norm](d)
        self.ssm = make_ssm(config.ssm, d, config.bidirectional)
        self.configurator = make_configurator(config.configurator, d, number)
        self.hx_proj = nn.Linear(d, self.configurator.logits + d)
        self.attention = WorkingMemoryAttention(config)
        self.dropout = Dropout(config.dropout)
        for linear in (self.hx_proj, self.attention.mx_proj, self.attention.h_proj):
            nn.init.trunc_normal_(linear.weight, std=0.02, a=-0.04, b=0.04)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, state: LayerState | None = None) -> LayerOutput:
        """
        Args:
            x: (B, L, d).
            padding_mask: (B, L), True = padding.
            state: of the tokens before x (causal layers, no padding); the new one is returned.
        """
        refuse_tracing()
        check_tokens(x, self.config.d_model, padding_mask)
        check_same_dtype(x, self.hx_proj.bias)
        if state is not None:
            check_streams(len(state.memory.count), len(x))
        if state is not None and padding_mask is not None:
            raise ValueError("a carried state goes with unpadded segments; give either state or padding_mask")
        start = 0 if state is None else state.position
        xn = self.norm(x, padding_mask) if self.config.prenorm else x
        m, ssm_state = self.ssm(xn, padding_mask, state and state.ssm, need_state=state is not None)
        decision, s, m = self._route(m, torch.arange(start, start + x.shape[1], device=x.device))
        active, confidence, evidence = decision
        track = getattr(self.configurator, "track", None)  # one from outside need not have it
        if self.training and track is not None:
            track(evidence, padding_mask)
        if padding_mask is not None:
            active = active & ~padding_mask
        packing = pack(active, offset=start)
        weight = compress(confidence.unsqueeze(-1), packing)  # (n, 1)
        y, memory = self.attention(
            compress(m, packing), packing.row, packing.position, weight, state and state.memory, state is not None
        )
        y = y * weight.to(y.dtype)
        out = self._combine(x, s, y, packing.index)
        if not self.config.prenorm:
            out = self.norm(out, padding_mask)
        confidence = torch.where(active, confidence, 0.0)
        new_state = None if state is None else LayerState(ssm_state, memory, start + x.shape[1])
        return LayerOutput(out, active, confidence, new_state, evidence)

    def init_state(self, batch: int) -> LayerState:
        """State of `batch` streams before their first token."""
        if self.config.bidirectional:
            raise ValueError("a bidirectional layer cannot be run step by step; set bidirectional: false")
        if batch < 0:
            raise ValueError(f"expected a number of streams, 0 or more; found {batch}")
        return LayerState(self.ssm.init_state(batch), self.attention.init_memory(batch), 0)

    def step(self, x: Tensor, state: LayerState) -> tuple[Tensor, Decision, LayerState]:
        """One token of every stream: x (B, d) -> y (B, d), its decision (B,), and the next state.

        Equals `forward` on the whole sequence (an EMA without truncation), at a cost that does not depend
        on how much came before. The state passed in must not be used again.
        """
        check_tokens(x.unsqueeze(1), self.config.d_model)
        check_same_dtype(x, self.hx_proj.bias)
        check_streams(len(state.memory.count), len(x))
        xn = self._norm_token(x) if self.config.prenorm else x
        m, ssm_state = self.ssm.step(xn, state.ssm)
        (active, confidence, evidence), s, m = self._route(m, state.position)
        index = active.nonzero().squeeze(1)
        memory, y = state.memory, x.new_zeros(0, x.shape[1])
        if len(index):
            weight = confidence[index].unsqueeze(-1)
            y, memory = self.attention.step(m[index], index, state.position, weight, memory)
            y = y * weight.to(y.dtype)
        out = self._combine(x, s, y, index)
        if not self.config.prenorm:
            out = self._norm_token(out)
        decision = Decision(active, torch.where(active, confidence, 0.0), evidence)
        return out, decision, LayerState(ssm_state, memory, state.position + 1)

    def _route(self, m: Tensor, position: Tensor | int) -> tuple[Decision, Tensor, Tensor]:
        """SSM output (..., d) -> the configurator's decision, skip path s (..., d), and the GAU's input.

        A token that is not finite is not active: attention works on tiles of several rows, and would spread it.
        """
        m = self.dropout(F.silu(m.to(self.hx_proj.bias.dtype)))
        u, s = self.hx_proj(m).split([self.configurator.logits, m.shape[-1]], dim=-1)
        decision: Decision = self.configurator(u, position)
        return decision._replace(active=decision.active & torch.isfinite(m.detach().sum(-1))), s, m

    def _combine(self, x: Tensor, s: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """silu(s + y + x); a causal layer drops out s + y together, a bidirectional one dropped y before."""
        if self.config.bidirectional:
            return F.silu(extract(s + x, y, index, in_place=True))
        return F.silu(self.dropout(extract(s, y, index)) + x)

    def _norm_token(self, x: Tensor) -> Tensor:
        return self.norm(x.unsqueeze(1)).squeeze(1)
