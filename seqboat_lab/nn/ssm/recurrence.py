"""The linear recurrence h_t = a h_{t-1} + u_t of diagonal modes, real or complex, over (B, L, P) inputs.

A time step touches every mode once, so the recurrence is memory-bound and a loop of in-place updates is the
fastest form: T steps run for all chunks of T at the same time, then the chunks' ends are joined by the same
recurrence with decay a^T, and so on: about T log_T(L) updates of the whole sequence's length in all.
The gradient is the same recurrence run backward, so nothing but h is kept.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 16
SCAN_FLOPS = 16  # per mode and token: a complex multiply-add inside the chunk, another from its left edge


def recurrence(u: Tensor, log_decay: Tensor, state: Tensor | None = None) -> Tensor:
    """u (B, L, P), log_decay (P,), state (B, P) before the first input -> h (B, L, P); all real or all complex."""
    if state is None:
        state = u.new_zeros(u.shape[0], u.shape[2])
    return _Recurrence.apply(u, log_decay, state)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u: Tensor, log_decay: Tensor, state: Tensor) -> Tensor:
        h = _scan(u, log_decay, state)
        ctx.save_for_backward(h, log_decay, state)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, log_decay, state = ctx.saved_tensors
        conjugate = log_decay.conj().resolve_conj()
        grad_u = _scan(grad.flip(1), conjugate, torch.zeros_like(state)).flip(1)  # g_t + conj(a) grad_u_{t+1}
        decay = torch.exp(conjugate)
        grad_decay = (h[:, :-1].conj() * grad_u[:, 1:]).sum((0, 1)) + (state.conj() * grad_u[:, 0]).sum(0)
        return grad_u, grad_decay * decay, grad_u[:, 0] * decay


def _scan(u: Tensor, log_decay: Tensor, state: Tensor) -> Tensor:
    B, L, P = u.shape
    decay = torch.exp(log_decay)
    if L <= 2 * CHUNK:
        h = u.clone(memory_format=torch.contiguous_format)
        steps = h.unbind(1)  # all views at once: two operations less a step
        steps[0].addcmul_(decay, state)
        for before, now in pairwise(steps):
            now.addcmul_(decay, before)
        return h
    chunks = -(-L // CHUNK)
    h = F.pad(u, (0, 0, 0, chunks * CHUNK - L)) if L % CHUNK else u.clone(memory_format=torch.contiguous_format)
    h = h.view(B, chunks, CHUNK, P)
    for before, now in pairwise(h.unbind(2)):
        now.addcmul_(decay, before)
    ends = _scan(h[:, :, -1], log_decay * CHUNK, state)  # (B, chunks, P)
    edges = torch.cat([state.unsqueeze(1), ends[:, :-1]], dim=1)
    powers = torch.arange(1, CHUNK + 1, device=u.device)
    h.addcmul_(torch.exp(log_decay * powers.unsqueeze(1)), edges.unsqueeze(2))
    return h.view(B, chunks * CHUNK, P)[:, :L]
