"""State space models that all channels share: input matrix, diagonal recurrence, output matrix."""

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.nn.ssm.base import SSM, FLOPs
from seqboat_lab.nn.ssm.recurrence import SCAN_FLOPS, recurrence


class MIMODiagonalSSM(SSM):
    """h_t = a h_{t-1} + B x_t, y_t = Re(C h_t) + omega x_t with P complex modes for all channels together.

    The state is h, (B, P) complex. A bidirectional one has two sets of modes; the second runs backward.
    """

    @abstractmethod
    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """log a (R, P), B (R, P, d), C (R, d, P), complex; R = 2 (forward, backward) when bidirectional."""

    def filter(self, x: Tensor, state: Tensor | None, need_state: bool) -> tuple[Tensor, Tensor | None]:
        log_decay, B, C = self.system()
        u = self._drive(x, B)  # (B, L, R, P)
        if self.bidirectional:
            u = _flip_backward(u)
        h = recurrence(u.flatten(2), log_decay.flatten(), state).view_as(u)
        last = h[:, -1, 0].clone() if need_state else None
        if self.bidirectional:
            h = _flip_backward(h)
        return self._read(h, C), last

    def init_state(self, batch: int) -> Tensor:
        log_decay, _, _ = self.system()
        return log_decay.new_zeros(batch, log_decay.shape[1])

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        log_decay, B, C = self.once(self.system)
        state = torch.exp(log_decay[0]) * state + self._drive(x, B).squeeze(-2)
        return self._read(state.unsqueeze(-2), C), state

    def _drive(self, x: Tensor, B: Tensor) -> Tensor:
        """B x: (..., d) -> (..., R, P), as one real matrix product."""
        R, P, d = B.shape
        rows = torch.view_as_real(B).transpose(2, 3).reshape(R * P * 2, d)  # real and imaginary rows in turn
        return torch.view_as_complex(F.linear(x, rows).view(*x.shape[:-1], R, P, 2))

    def _read(self, h: Tensor, C: Tensor) -> Tensor:
        """Re(C h): (..., R, P) -> (..., d), as one real matrix product."""
        columns = torch.view_as_real(C.conj().resolve_conj())  # (R, d, P, 2): real part, minus imaginary part
        return F.linear(torch.view_as_real(h).flatten(-3), columns.transpose(0, 1).flatten(1))

    @staticmethod
    @abstractmethod
    def count_modes(config: Any) -> int:
        """P of one direction."""

    @classmethod
    def flops(cls, config: Any, d_model: int, bidirectional: bool, length: int) -> FLOPs:
        modes = cls.count_modes(config) * (2 if bidirectional else 1)
        return FLOPs(2 * 2 * d_model * 2 * modes, SCAN_FLOPS * modes)


def _flip_backward(h: Tensor) -> Tensor:
    """Turns the backward set of (B, L, 2, P) round in time."""
    return torch.stack([h[:, :, 0], h[:, :, 1].flip(1)], dim=2)
