"""The interface of every SSM kernel, and the kernels that are diagonal per channel."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from seqboat_lab.native.library import native
from seqboat_lab.native.scan import can_scan, scan
from seqboat_lab.nn.checks import check_tokens
from seqboat_lab.nn.ssm.kept import Kept, T
from seqboat_lab.nn.ssm.scan import CHUNK, diagonal_scan, truncated_scan


class FLOPs(NamedTuple):
    """Cost per token of a forward pass, in floating-point operations (a multiply-add is 2), and of a backward pass."""

    matmul: float
    """In matrix products over the sequence."""
    other: float
    """In FFTs and elementwise scans over the sequence."""
    backward: float = 0.0
    """What a backward pass costs beyond twice the forward pass: less than 0 for FFTs, which it needs as often again,
    and for products with what needs no gradient; more for fused attention, which computes its scores again."""

    @property
    def forward(self) -> float:
        return self.matmul + self.other

    @property
    def training(self) -> float:
        """Forward and backward: a product of two tensors has two gradients, each as costly as itself."""
        return 3 * self.forward + self.backward


class AtLeastFloat32(nn.Module):
    """Its parameters stay in float32 where a model is turned into half precision."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AtLeastFloat32":
        def at_least_float32(t: Tensor) -> Tensor:
            new = fn(t)
            return t.to(new.device, torch.float32) if new.dtype in (torch.float16, torch.bfloat16) else new

        return super()._apply(at_least_float32, recurse)


class SSM(AtLeastFloat32, ABC):
    """A linear time-invariant filter over (B, L, d) plus a learned skip `omega * x` per channel.

    `forward` is parallel over the sequence, `step` takes one token; for causal kernels they agree.
    Padded inputs count as zeros in the filter, while the skip still sees them. So does a token that is not finite:
    its own output is NaN, and no other token's is.

    Parameters stay in float32 where a model is turned into half precision: the powers of modes near 1 need it.
    """

    slow_parameters: ClassVar[tuple[str, ...]] = ()
    """The parameters that set the modes' time scales: they train with `optim.ssm_lr` and decay by
    `optim.ssm_weight_decay`, which is 0 unless set."""
    decayed_parameters: ClassVar[tuple[str, ...]] = ()
    """The parameters that decay like the network's own weights, as in the kernel's reference code (C and the skip D);
    all others stay whole unless `optim.decay_everything`."""

    def __init__(self, d_model: int, bidirectional: bool):
        super().__init__()
        self.bidirectional = bidirectional
        self._kept = Kept()
        self.omega = nn.Parameter(torch.empty(d_model))
        self.init_skip(self.omega)

    @staticmethod
    def init_skip(omega: Tensor) -> None:
        """Where the skip starts, in place: normal(0, 1), as D does in the references of S4, S4D, S5 and LRU."""
        nn.init.normal_(omega)

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, state: Any = None, need_state: bool = False
    ) -> tuple[Tensor, Any]:
        """x (B, L, d) -> y (B, L, d) and, if `need_state`, the state after the last token (else None).

        Args:
            padding_mask: (B, L), True = padding.
            state: from `init_state`, an earlier `forward` or `step`; causal kernels only.
        """
        if self.bidirectional and (state is not None or need_state):
            raise ValueError("a bidirectional SSM has no state to carry; build it with bidirectional=False")
        check_tokens(x, len(self.omega), padding_mask)
        if torch.is_grad_enabled():  # it may be about to be trained
            self._kept.forget()
        with torch.autocast(x.device.type, enabled=False):  # the powers of modes near 1 need float32
            x = x if x.dtype == torch.float64 else x.float()
            hidden = not_finite(x) if padding_mask is None else padding_mask | not_finite(x)
            return self.respond(x, hidden, state, need_state)

    def respond(self, x: Tensor, hidden: Tensor, state: Any, need_state: bool) -> tuple[Tensor, Any]:
        """Filter and skip of x (B, L, d), whose hidden tokens (B, L) the filter does not see."""
        y, state = self.filter(x.masked_fill(hidden.unsqueeze(-1), 0.0), state, need_state)
        return y + self.omega * x, state

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token: x (B, d) -> y (B, d) and the next state. A frozen kernel (`requires_grad_(False)`) computes what
        its parameters alone decide at the first token, and again only where they changed."""
        with torch.autocast(x.device.type, enabled=False):
            x = x if x.dtype == torch.float64 else x.float()
            y, state = self.advance(x.masked_fill(not_finite(x).unsqueeze(-1), 0.0), state)
            return torch.addcmul(y, self.omega, x), state

    def once(self, compute: Callable[[], T]) -> T:
        """What `compute` makes of parameters and buffers, kept as `Kept` says; one computation a kernel."""
        return self._kept((*self.parameters(), *self.buffers()), compute)

    @abstractmethod
    def filter(self, x: Tensor, state: Any, need_state: bool) -> tuple[Tensor, Any]:
        """The kernel without skip: x (B, L, d) -> y (B, L, d), new state or None."""

    @abstractmethod
    def init_state(self, batch: int) -> Any:
        """State before the first token."""

    @abstractmethod
    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token without skip: x (B, d) -> y (B, d) and the next state."""

    @staticmethod
    @abstractmethod
    def flops(config: Any, d_model: int, bidirectional: bool, length: int) -> FLOPs:
        """Per token of a sequence; what is done once per batch (building the kernel) is left out."""


def not_finite(x: Tensor) -> Tensor:
    """(..., d) -> (...) bool: which tokens hold a NaN or an infinity."""
    return ~torch.isfinite(x.detach().sum(-1))


class DiagonalSSM(SSM):
    """Kernels k[l] = Re sum_n w_n a_n^l with modes of their own in every channel.

    The state is (B, d, n): h_t = a h_{t-1} + x_t, and y_t = Re sum_n w_n h_t + omega x_t.
    """

    def __init__(self, d_model: int, bidirectional: bool, truncation: int | None = None):
        super().__init__(d_model, bidirectional)
        self.truncation = truncation
        self.directions = 2 if bidirectional else 1

    @abstractmethod
    def modes(self) -> tuple[Tensor, Tensor]:
        """log a and w, each (R, d, n); R = 2 (forward, backward) when bidirectional, else 1."""

    def by_direction(self, t: Tensor) -> Tensor:
        """(R * d, n), the backward direction's channels last -> (R, d, n)."""
        return t.view(self.directions, -1, t.shape[-1])

    def respond(self, x: Tensor, hidden: Tensor, state: Any, need_state: bool) -> tuple[Tensor, Any]:
        endless = self.truncation is None or state is not None or need_state
        if endless and native(x) is not None and can_scan(x, self.omega, *(modes := self.modes()), state):
            return scan(x, hidden, self.omega, *modes, state, need_state)
        return super().respond(x, hidden, state, need_state)

    def filter(self, x: Tensor, state: Tensor | None, need_state: bool) -> tuple[Tensor, Tensor | None]:
        log_decay, weight = self.modes()
        if self.truncation is not None and state is None and not need_state:
            return truncated_scan(x, log_decay, weight, self.truncation), None
        return diagonal_scan(x, log_decay, weight, state, need_state)

    @torch.no_grad()
    def dropped(self) -> float:
        """What truncation can take from an output at most, as a multiple of the largest input: the mass
        sum_{l >= K} |k[l]| of the kernel behind its last lag, of the channel where it is largest."""
        if self.truncation is None:
            return 0.0
        log_decay, weight = self.modes()
        size = torch.exp(torch.real(log_decay).double())  # |a|
        return (weight.abs() * size**self.truncation / (1 - size)).sum(-1).max().item()

    def init_state(self, batch: int) -> Tensor:
        log_decay, _ = self.modes()
        return log_decay.new_zeros(batch, *log_decay.shape[1:])

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        decay, weight = self.once(self._step_modes)
        state = decay * state + x.unsqueeze(-1)  # (B, d, n)
        y = (weight * state).sum(-1)
        return (y.real if y.is_complex() else y), state

    def _step_modes(self) -> tuple[Tensor, Tensor]:
        """a and w, each (d, n)."""
        log_decay, weight = self.modes()
        return torch.exp(log_decay[0]), weight[0]


def scan_flops(d_model: int, rows: int, bidirectional: bool, length: int, truncation: int | None) -> FLOPs:
    """Of `diagonal_scan` and `truncated_scan`; `rows` counts a channel's modes, complex ones twice."""

    def one_scan(length: int, directions: int) -> float:
        tile = length if length <= 2 * CHUNK else CHUNK
        chunks = -(-length // tile)
        carried = 2 * directions * rows if chunks > 1 else 0
        return 2.0 * d_model * (tile + carried) * chunks * tile

    directions = 2 if bidirectional else 1
    total = one_scan(length, directions)
    if truncation is not None and truncation < length:  # the late part of each direction is taken off again
        total += directions * one_scan(length - truncation, 1)
    return FLOPs(total / length, 0.0)
