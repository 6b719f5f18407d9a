"""The filter of diagonal modes by scan.c, as a function with gradient."""

import ctypes
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqboat_lab.native.library import loaded, pointer


class _Scan(ctypes.Structure):
    """`scan` in scan.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "decay", "weight", "state", "omega", "hidden")),
        *((name, c_int64) for name in "BLdRnP"),
    )


class _Gradient(ctypes.Structure):
    _fields_ = tuple((name, c_void_p) for name in ("x", "decay", "weight", "state", "omega"))


def can_scan(x: Tensor, omega: Tensor, log_decay: Tensor, weight: Tensor) -> bool:
    """Whether `scan` reads these; torch takes others, or says what is wrong with them."""
    alike = all(t.real.dtype == x.dtype and t.device == x.device for t in (omega, log_decay, weight))
    return alike and log_decay.dtype == weight.dtype and x.shape[1] > 0


def scan(
    x: Tensor, hidden: Tensor, omega: Tensor, log_decay: Tensor, weight: Tensor, state: Tensor | None, need_state: bool
) -> tuple[Tensor, Tensor | None]:
    """What `nn.ssm.scan.diagonal_scan` makes of x with zeros where a token is hidden, plus omega * x.

    x (B, L, d), hidden (B, L) bool, omega (d,); log_decay, weight (R, d, n), both real or both complex; state
    (B, d, n) or None, and a new one if `need_state`, with R = 1 only.
    """
    tensors = (t.contiguous() for t in (x, hidden, omega, log_decay, weight))
    return _Filter.apply(*tensors, None if state is None else state.contiguous(), need_state)


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
        x, _, omega, log_decay, _, state = ctx.saved_tensors
        grad_x, grad_omega = torch.empty_like(x), omega.new_empty(len(x), len(omega))
        grad_decay, grad_weight = log_decay.new_empty(2, len(x), *log_decay.shape)
        grad_state = None if state is None else torch.empty_like(state)
        to = _Gradient(*map(pointer, (grad_x, grad_decay, grad_weight, grad_state, grad_omega)))
        grad, after = grad.contiguous(), None if grad_new_state is None else grad_new_state.contiguous()
        decay = -torch.expm1(log_decay)
        loaded(x).scan_backward(_described(decay, *ctx.saved_tensors), pointer(grad), pointer(after), to)
        grad_decay = grad_decay.sum(0) * torch.exp(log_decay).conj()
        return grad_x, None, grad_omega.sum(0), grad_decay, grad_weight.sum(0), grad_state, None


def _described(
    decay: Tensor, x: Tensor, hidden: Tensor, omega: Tensor, log_decay: Tensor, weight: Tensor, state: Tensor | None
) -> _Scan:
    R, _, n = log_decay.shape
    return _Scan(*map(pointer, (x, decay, weight, state, omega, hidden)), *x.shape, R, n, 1 + log_decay.is_complex())
