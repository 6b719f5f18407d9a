"""The recurrences of `linear_attention` by the Triton kernels of flash-linear-attention, on CUDA devices.

Written against version 0.6 (fla-org/flash-linear-attention): its layout is (B, L, H, .), its decays are logarithms too.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from seqboat_lab.config.checks import UserError
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers import linear_attention

Recurrence = Callable[..., tuple[Tensor, Tensor]]


def recurrence(config: ModelConfig, name: Literal["head_decay", "channel_decay"]) -> Recurrence:
    """That function of the mixer's backend. Raises `UserError` where the backend cannot run."""
    if config.mixer.backend == "torch":
        return getattr(linear_attention, name)
    where = f"model.mixers.{config.kind}.backend: 'fla' needs"
    if find_spec("fla") is None:
        raise UserError(
            f"{where} the package flash-linear-attention, which is not installed; "
            "pip install 'flash-linear-attention[cuda]', or set it to torch"
        )
    if not torch.cuda.is_available():
        raise UserError(f"{where} a CUDA device, and found none; set it to torch")
    return {"head_decay": head_decay, "channel_decay": channel_decay}[name]


def runs_elsewhere(x: Tensor) -> bool:
    """What the kernels do not know stays with plain torch."""
    return not x.is_cuda or x.dtype == torch.float64


def head_decay(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `linear_attention.head_decay`."""
    if runs_elsewhere(v):
        return linear_attention.head_decay(q, k, v, log_decay, state)
    from fla.ops.simple_gla import chunk_simple_gla

    B, H, L, _ = v.shape
    q, k = (_swap(t.expand(B, H, L, -1)) for t in (q, k))
    decay = _swap(log_decay.expand(B, H, L))
    o, state = chunk_simple_gla(q, k, _swap(v), decay, scale=1.0, initial_state=state, output_final_state=True)
    return o.transpose(1, 2), state


def channel_decay(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None, before: bool = False
) -> tuple[Tensor, Tensor]:
    """See `linear_attention.channel_decay`."""
    if runs_elsewhere(v):
        return linear_attention.channel_decay(q, k, v, log_decay, state, before)
    inputs, options = map(_swap, (q, k, v, log_decay)), {"initial_state": state, "output_final_state": True}
    if before:
        from fla.ops.rwkv6 import chunk_rwkv6

        o, state = chunk_rwkv6(*inputs, u=q.new_zeros(q.shape[1], q.shape[3]), scale=1.0, **options)
    else:
        from fla.ops.gla import chunk_gla

        o, state = chunk_gla(*inputs, scale=1.0, **options)
    return o.transpose(1, 2), state


def _swap(x: Tensor) -> Tensor:
    """(B, H, L, ...) -> (B, L, H, ...)"""
    return x.transpose(1, 2).contiguous()
