"""Mixture-of-Depths (Raposo et al. 2024, arXiv 2404.02258, section 3): only some tokens go through a block."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.checks import check_same_dtype, check_tokens
from seqboat_lab.nn.configurator import Decision
from seqboat_lab.nn.dropout import Dropout
from seqboat_lab.nn.layer import LayerOutput
from seqboat_lab.nn.mixers.base import MLP
from seqboat_lab.nn.mixers.transformer import Attention
from seqboat_lab.nn.norms import NORMS
from seqboat_lab.nn.ssm.base import FLOPs


class RoutedCache(NamedTuple):
    """Keys and values of the tokens that were routed; rows that routed none at a time have a place left free."""

    key: Tensor
    """(B, n, heads, d / heads), already turned"""
    value: Tensor
    """(B, n, heads, d / heads)"""
    filled: Tensor
    """(B, n) bool"""
    position: int
    """Tokens read so far."""


class _AddLoss(torch.autograd.Function):
    """x as it is; the loss gets a gradient of 1 when x gets one."""

    @staticmethod
    def forward(ctx, x: Tensor, loss: Tensor) -> Tensor:
        ctx.dtype = loss.dtype
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad.new_ones((), dtype=ctx.dtype)


class ModLayer(nn.Module):
    """x + r * f(x) for the tokens that are routed, x for the others; r = w . x, f = a transformer block's attention,
    among the routed tokens alone, and feed-forward part (eq. 1). The interface is that of `SeqBoatLayer`.

    In training the routed tokens are the row's `capacity` share of largest r: a choice that looks at later tokens.
    A small network learns to predict it from each token alone, with a loss of its own that touches nothing else (the
    second way of section 3.5), and decides in evaluation, which is causal.
    """

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__()
        self.config, d = config, config.d_model
        self.router = nn.Linear(d, 1, bias=False)
        self.predictor = nn.Sequential(nn.Linear(d, max(1, d // 2)), nn.ReLU(), nn.Linear(max(1, d // 2), 1))
        self.norm1, self.norm2 = NORMS[config.norm](d), NORMS[config.norm](d)
        self.attention, self.mlp = Attention(config), MLP(config)
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.router.weight, std=0.02)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, state: RoutedCache | None = None) -> LayerOutput:
        """x (B, L, d), padding_mask (B, L) True = padding, the state of the tokens before x (no padding then)."""
        check_tokens(x, self.config.d_model, padding_mask)
        check_same_dtype(x, self.router.weight)
        if state is not None and padding_mask is not None:
            raise ValueError("a carried state goes with unpadded segments; give either state or padding_mask")
        r = self.router(x).squeeze(-1)
        evidence = self.predictor(x.detach()).squeeze(-1)
        real = torch.ones_like(r, dtype=torch.bool) if padding_mask is None else ~padding_mask
        if self.training:
            active = self.largest(r.detach(), real)
            # a mean over real tokens without picking them out, for which the CPU would have to wait
            guess, weight = evidence.float().masked_fill(~real, 0.0), real.float()
            loss = F.binary_cross_entropy_with_logits(guess, active.float(), weight, reduction="sum") / real.sum()
            x = _AddLoss.apply(x, loss)
        else:
            active = (evidence > 0) & real
        start = 0 if state is None else state.position
        index, filled = self.places(active)  # (B, k)
        chosen = x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        f, state = self.block(chosen, index + start, filled, state)
        weight = (r.gather(1, index) * filled).unsqueeze(-1)
        y = x.scatter_add(1, index.unsqueeze(-1).expand_as(f), (weight * f).to(x.dtype))
        state = None if state is None else state._replace(position=start + x.shape[1])
        return LayerOutput(y, active, active.to(x.dtype), state)  # r is a weight of any size and sign, no confidence

    def largest(self, r: Tensor, real: Tensor) -> Tensor:
        """(B, L) bool: the share `capacity` of each row's real tokens, rounded up, whose r is largest."""
        order = r.float().masked_fill(~real, -torch.inf).argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(1, order, torch.arange(r.shape[1], device=r.device).expand_as(order))
        return (rank < torch.ceil(self.config.mixer.capacity * real.sum(1, keepdim=True))) & real

    @staticmethod
    def places(active: Tensor) -> tuple[Tensor, Tensor]:
        """Where each row's active tokens are (B, k), in order, and which of the places hold one (B, k): as many as the
        fullest row has, and at least one, so that every parameter takes part in every step."""
        k = max(1, int(active.sum(1).max())) if len(active) else 1
        index = (~active).byte().argsort(dim=1, stable=True)[:, :k]
        return index, active.gather(1, index)

    def block(
        self, x: Tensor, position: Tensor, filled: Tensor, state: RoutedCache | None
    ) -> tuple[Tensor, RoutedCache | None]:
        """What a transformer block adds to tokens x (B, k, d) that stood at `position` (B, k)."""
        empty = ~filled
        xn = self.norm1(x, empty)
        q, k, v = self.attention.project(xn, position)
        if state is None or not state.key.shape[1]:
            o = self.attention.attend(q, k, v, empty)
        if state is not None:
            held = state.key.shape[1]
            k, v = torch.cat([state.key.to(k.dtype), k], 1), torch.cat([state.value.to(v.dtype), v], 1)
            filled = torch.cat([state.filled, filled], 1)
            state = RoutedCache(k, v, filled, state.position)
            if held:
                itself = torch.eye(q.shape[1], dtype=torch.bool, device=q.device)
                up_to = torch.ones_like(itself).tril()
                allowed = F.pad(up_to, (held, 0), value=True) & filled.unsqueeze(1) | F.pad(itself, (held, 0))
                q, k, v = (t.transpose(1, 2) for t in (q, k, v))
                o = F.scaled_dot_product_attention(q, k, v, allowed.unsqueeze(1)).transpose(1, 2)
        a = self.dropout(self.attention.output(o))
        return a + self.dropout(self.mlp.of_tokens(self.norm2(x + a, empty))), state

    def init_state(self, batch: int) -> RoutedCache:
        """State of `batch` streams before their first token."""
        if self.config.bidirectional:
            raise ValueError("a bidirectional layer cannot be run step by step; set bidirectional: false")
        cache = self.attention.init_state(batch)
        return RoutedCache(cache.key, cache.value, cache.key.new_zeros(batch, 0, dtype=torch.bool), 0)

    def step(self, x: Tensor, state: RoutedCache) -> tuple[Tensor, Decision, RoutedCache]:
        """One token of every stream: x (B, d) -> y (B, d), its decision (B,), and the next state."""
        out: Any = self.forward(x.unsqueeze(1), None, state)
        state = out.state
        if not out.active.any():  # nothing to remember
            state = RoutedCache(state.key[:, :-1], state.value[:, :-1], state.filled[:, :-1], state.position)
        return out.y.squeeze(1), Decision(out.active.squeeze(1), out.confidence.squeeze(1)), state

    @staticmethod
    def layer_flops(config: ModelConfig, length: int, rate: float) -> dict[str, FLOPs]:
        """Of `rate` of the tokens, which see each other; the predictor reads all, and sends no gradient to them."""
        d, width = config.d_model, max(1, config.d_model // 2)
        pairs = (d + config.mixer.heads) * max(1.0, rate * length)  # one channel a head masks
        return {
            "router": FLOPs(2.0 * d + 2.0 * d * width + 2.0 * width, 0.0, -2.0 * d * width),
            "mixer": FLOPs(rate * (8.0 * d * d + 4.0 * pairs), 0.0, rate * 2.0 * pairs),
            "ffn": FLOPs(*(rate * flops for flops in MLP.flops(config, length))),
        }
