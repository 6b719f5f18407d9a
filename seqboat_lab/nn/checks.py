"""What a model can be given: one look at shapes and types, so that a mistake is told as one."""

import torch
from torch import Tensor


def check_tokens(x: Tensor, d_model: int, padding_mask: Tensor | None = None) -> None:
    """Raises `ValueError` unless x is (B, L, d_model) of floating point with L >= 1, and the mask (B, L) of bool."""
    if x.dim() != 3 or x.shape[2] != d_model or x.shape[1] < 1 or not x.is_floating_point():
        raise ValueError(f"expected x (B, L, {d_model}) of floating point, L at least 1; found {found(x)}")
    check_mask(padding_mask, x.shape[0], x.shape[1])


def check_sequences(inputs: Tensor) -> None:
    """Raises `ValueError` unless inputs are (B, L) with L >= 1."""
    if inputs.dim() != 2 or inputs.shape[1] < 1:
        raise ValueError(f"expected sequences (B, L), L at least 1; found {found(inputs)}")


def check_mask(padding_mask: Tensor | None, B: int, L: int) -> None:
    if padding_mask is not None and (padding_mask.shape != (B, L) or padding_mask.dtype != torch.bool):
        raise ValueError(f"expected padding_mask ({B}, {L}) of bool, True = padding; found {found(padding_mask)}")


def check_same_dtype(x: Tensor, weight: Tensor) -> None:
    """Raises `ValueError` where a module and its input differ, and no autocast is there to mend it."""
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(f"expected x of {weight.dtype}, as the module's weights; found {x.dtype}")


def check_streams(held: int, rows: int) -> None:
    """Raises `ValueError` for a state of another number of streams."""
    if held != rows:
        raise ValueError(f"expected a state of as many streams as x has rows, {rows}; found one of {held}")


def refuse_tracing() -> None:
    """Raises `RuntimeError` under `torch.jit.trace`, which would freeze how many tokens of the example were active."""
    if torch.jit.is_tracing():
        raise RuntimeError("a trace would freeze which tokens are active; use the module itself, or torch.compile")


def found(t: Tensor) -> str:
    return f"{tuple(t.shape)} of {t.dtype}"
