"""The filter of diagonal modes by scan.c, as a function with gradient."""

import ctypes
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from seqboat_lab.native.library import loaded, plain, pointer
from seqboat_lab.native.once import once_differentiable


class _Scan(ctypes.Structure):
    """`scan` in scan.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "decay", "weight", "state", "omega", "hidden")),
        *((name, c_int64) for name in "BLdRnP"),
    )


class _Gradient(ctypes.Structure):
    _fields_ = tuple((name, c_void_p) for name in ("x", "decay", "weight", "state", "omega"))


def can_scan(x: Tensor, omega: Tensor, log_decay: Tensor, weight: Tensor, state: Tensor | None = None) -> bool:
    """Whether `scan` reads these; torch takes others, or says what is wrong with them."""
    (B, L, d), R, n = x.shape, len(log_decay), log_decay.shape[-1]
    modes = [log_decay, weight] if state is None else [log_decay, weight, state]
    fit = L > 0 and omega.shape == (d,) and [t.shape for t in modes] == [(R, d, n), (R, d, n), (B, d, n)][: len(modes)]
    alike = omega.dtype == log_decay.real.dtype == x.dtype and all(t.dtype == log_decay.dtype for t in modes)
    return fit and alike and all(t.device == x.device for t in (omega, *modes))


def scan(
    x: Tensor, hidden: Tensor, omega: Tensor, log_decay: Tensor, weight: Tensor, state: Tensor | None, need_state: bool
) -> tuple[Tensor, Tensor | None]:
    """What `nn.ssm.scan.diagonal_scan` makes of x with zeros where a token is hidden, plus omega * x.

    x (B, L, d), hidden (B, L) bool, omega (d,); log_decay, weight (R, d, n), both real or both complex; state
    (B, d, n) or None, and a new one if `need_state`, with R = 1 only.
    """
    tensors = map(plain, (x, hidden, omega, log_decay, weight))
    return _Filter.apply(*tensors, None if state is None else plain(state), need_state)


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, hidden, omega, log_decay, weight, state, need_state: bool) -> tuple[Tensor, Tensor | None]:
        inputs = x, hidden, omega, log_decay, weight, state
        ctx.save_for_backward(*inputs)
        y = torch.empty_like(x)
        new_state = log_decay.new_empty(len(x), *log_decay.shape[1:]) if need_state else None
        decay = -torch.expm1(log_decay)  # 1 - a
        loaded(x).scan_forward(_described(decay, *inputs), pointer(y), pointer(new_state))
        return y, new_state

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, grad_new_state: Tensor | None) -> tuple:
        inputs = x, _, omega, log_decay, _, state = ctx.saved_tensors  # asked for once, as checkpointing wants it
        grad_x, grad_omega = torch.empty_like(x), omega.new_empty(len(x), len(omega))
        grad_decay, grad_weight = log_decay.new_empty(2, len(x), *log_decay.shape)
        grad_state = None if state is None else torch.empty_like(state)
        to = _Gradient(*map(pointer, (grad_x, grad_decay, grad_weight, grad_state, grad_omega)))
        grad, after = plain(grad), None if grad_new_state is None else plain(grad_new_state)
        decay = -torch.expm1(log_decay)
        loaded(x).scan_backward(_described(decay, *inputs), pointer(grad), pointer(after), to)
        grad_decay = grad_decay.sum(0) * torch.exp(log_decay).conj()
        return grad_x, None, grad_omega.sum(0), grad_decay, grad_weight.sum(0), grad_state, None


def _described(
    decay: Tensor, x: Tensor, hidden: Tensor, omega: Tensor, log_decay: Tensor, weight: Tensor, state: Tensor | None
) -> _Scan:
    R, _, n = log_decay.shape
    return _Scan(*map(pointer, (x, decay, weight, state, omega, hidden)), *x.shape, R, n, 1 + log_decay.is_complex())
