"""silu(gate) x, by gate.c where it can be had."""

import ctypes
from ctypes import c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqboat_lab.native.library import loaded, native, pointer


class _Gate(ctypes.Structure):
    """`gate` in gate.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("gate", "x")),
        *((name, c_int64) for name in ("n", "h", "columns")),
    )


def gated(gate: Tensor, x: Tensor) -> Tensor:
    """silu(gate) * x: gate (..., h); x (..., h) or (..., 1)."""
    alike = x.dtype == gate.dtype and x.shape[:-1] == gate.shape[:-1] and x.shape[-1] in (gate.shape[-1], 1)
    return _Gated.apply(gate, x) if alike and native(gate) is not None else F.silu(gate) * x


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate: Tensor, x: Tensor) -> Tensor:
        gate, x = gate.contiguous(), x.contiguous()
        ctx.save_for_backward(gate, x)
        y = torch.empty_like(gate)
        loaded(x).gate_forward(_described(gate, x), pointer(y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, x = ctx.saved_tensors
        grad, grad_gate, grad_x = grad.contiguous(), torch.empty_like(gate), torch.empty_like(x)
        loaded(x).gate_backward(_described(gate, x), *map(pointer, (grad, grad_gate, grad_x)))
        return grad_gate, grad_x


def _described(gate: Tensor, x: Tensor) -> _Gate:
    h = gate.shape[-1]
    return _Gate(gate.data_ptr(), x.data_ptr(), gate.numel() // max(1, h), h, x.shape[-1])
