"""silu(gate) x, by gate.c where it can be had."""

import ctypes
from ctypes import c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.native.library import loaded, native, plain, pointer


class _Gate(ctypes.Structure):
    """`gate` in gate.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("gate", "x")),
        *((name, c_int64) for name in ("n", "h", "columns")),
    )


def gated(gate: Tensor, x: Tensor) -> Tensor:
    """silu(gate) * x: gate (..., h); x (..., h) or (..., 1)."""
    alike = x.dtype == gate.dtype and x.device == gate.device
    fits = alike and gate.numel() > 0 and x.shape[:-1] == gate.shape[:-1] and x.shape[-1] in (gate.shape[-1], 1)
    return _Gated.apply(plain(gate), plain(x)) if fits and native(gate) is not None else F.silu(gate) * x


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(gate, x)
        y = torch.empty_like(gate)
        loaded(x).gate_forward(_described(gate, x), pointer(y))
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, ...]:
        gate, x = ctx.saved_tensors
        if torch.is_grad_enabled() or native(grad) is None:  # a gradient of this one, or many at once
            s = torch.sigmoid(gate)
            return grad * x * s * (1 + gate * (1 - s)), (grad * gate * s).sum_to_size(x.shape)
        grad, grad_gate, grad_x = plain(grad), torch.empty_like(gate), torch.empty_like(x)
        loaded(x).gate_backward(_described(gate, x), *map(pointer, (grad, grad_gate, grad_x)))
        return grad_gate, grad_x


def _described(gate: Tensor, x: Tensor) -> _Gate:
    h = gate.shape[-1]
    return _Gate(gate.data_ptr(), x.data_ptr(), gate.numel() // h, h, x.shape[-1])
