"""S4: HiPPO-LegS as diagonal plus low rank in every channel (Gu et al. 2022, arXiv 2111.00396)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqboat_lab.config.ssm import S4Config
from seqboat_lab.nn.ssm.base import SSM, FLOPs
from seqboat_lab.nn.ssm.convolution import fft_convolve, fft_flops, good_length
from seqboat_lab.nn.ssm.init import as_pairs, complex_normal, hippo_nplr, log_uniform


class System(NamedTuple):
    """x' = A x + B u, y = C x of each channel for one step dt; the conjugate half is left out.

    A = diag(eigenvalue) - P P*; all entries (channels, N/2) complex, eigenvalue and P for dt/2 * A, B for dt * B.
    """

    eigenvalue: Tensor
    P: Tensor
    B: Tensor
    C: Tensor

    def advance(self, h: Tensor, u: Tensor) -> Tensor:
        """Bilinear step h -> (1 - dt/2 A)^-1 ((1 + dt/2 A) h + dt B u) at cost O(N), by Sherman-Morrison.

        h (..., channels, N/2) complex, u (..., channels) real.
        """
        P, inverse = self.P, 1 / (1 - self.eigenvalue)
        low_rank = 2 * (P.conj() * h).real.sum(-1, keepdim=True)
        v = inverse * ((1 + self.eigenvalue) * h - P * low_rank + self.B * u.unsqueeze(-1))
        gain = 1 + 2 * (P.abs().square() * inverse).real.sum(-1, keepdim=True)
        return v - inverse * P * (2 * (P.conj() * v).real.sum(-1, keepdim=True) / gain)

    def read(self, h: Tensor) -> Tensor:
        """(..., channels, N/2) -> (..., channels)"""
        return 2 * (self.C * h).real.sum(-1)

    def dense(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same step on real states [Re h, Im h]: A (channels, N, N), B and C (channels, N)."""
        unit = torch.eye(self.P.shape[-1], dtype=self.P.dtype, device=self.P.device)
        states = torch.cat([unit, 1j * unit]).unsqueeze(1)  # (N, 1, N/2)
        none = self.P.real.new_zeros(1)
        A = _as_real(self.advance(states, none)).permute(1, 2, 0)  # columns: where each state goes
        B = _as_real(self.advance(torch.zeros_like(states[0]), none + 1))
        return A, B, 2 * _as_real(self.C.conj())


class S4(SSM):
    """Kernel k[l] = C A^l B of the bilinearly discretised system, through its generating function.

    Parameters: log_A_real, A_imag (channels, N/2), P, B, C (channels, N/2, 2), log_dt (channels, 1), the
    backward direction's channels last. Tying both low-rank factors keeps every A stable (Goel et al. 2022,
    arXiv 2202.09729). The state is (B, d, N/2) complex.
    """

    slow_parameters = ("log_A_real", "A_imag", "P", "B", "log_dt")
    decayed_parameters = ("C", "omega")

    def __init__(self, config: S4Config, d_model: int, bidirectional: bool):
        super().__init__(d_model, bidirectional)
        self.directions = 2 if bidirectional else 1
        channels, legs = self.directions * d_model, hippo_nplr(config.state_size)
        eigenvalue = as_pairs(legs.eigenvalues, channels)
        self.log_A_real = nn.Parameter(eigenvalue[..., 0].neg().log())
        self.A_imag = nn.Parameter(eigenvalue[..., 1].clone())
        self.P, self.B = nn.Parameter(as_pairs(legs.P, channels)), nn.Parameter(as_pairs(legs.B, channels))
        self.C = nn.Parameter(complex_normal(channels, config.state_size // 2))
        self.log_dt = nn.Parameter(log_uniform((channels, 1), config.dt_min, config.dt_max))

    def system(self) -> System:
        dt = torch.exp(self.log_dt)
        eigenvalue = torch.complex(-torch.exp(self.log_A_real), self.A_imag) * (dt / 2)
        P = torch.view_as_complex(self.P) * (dt / 2).sqrt()
        return System(eigenvalue, P, torch.view_as_complex(self.B) * dt, torch.view_as_complex(self.C))

    def kernel(self, length: int) -> Tensor:
        """(R, d, length)"""
        return generate(self.system(), length).view(self.directions, -1, length)

    def filter(self, x: Tensor, state: Tensor | None, need_state: bool) -> tuple[Tensor, Tensor | None]:
        L = x.shape[1]
        y = fft_convolve(x, self.kernel(L))
        if state is None and not need_state:
            return y, None
        A, B, C = self.system().dense()
        new_state = None
        if need_state:
            new_state = torch.einsum("dln,bld->bdn", powers(B, A.mT, L).flip(1), x)  # sum_l A^(L-1-l) B x_l
        if state is not None:
            before = _as_real(state)  # (B, d, N)
            y = y + torch.einsum("dln,bdn->bld", powers(times_power(C, A, 1), A, L), before)  # C A^(l+1) h
            if new_state is not None:
                new_state = new_state + times_power(before.transpose(0, 1), A.mT, L).transpose(0, 1)
        return y, None if new_state is None else torch.complex(*new_state.chunk(2, dim=-1))

    def init_state(self, batch: int) -> Tensor:
        C = torch.view_as_complex(self.C)
        return C.new_zeros(batch, *C.shape)

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        system = self.once(self.system)
        state = system.advance(state, x)
        return system.read(state), state

    @staticmethod
    def flops(config: S4Config, d_model: int, bidirectional: bool, length: int) -> FLOPs:
        n = good_length(2 * length - 1)
        ffts = 2 * d_model * fft_flops(n) / length  # there and back, in each pass
        return FLOPs(0.0, ffts + 3 * d_model * n / length, -ffts)


def generate(system: System, length: int) -> Tensor:
    """The kernels C A^l B, l < length, (channels, length), from n >= length roots of unity z = exp(-i w).

    sum_{l<n} C A^l B z^l = C (1 - A^n) (1 - A z)^-1 B, and with the bilinear A the resolvent is
    exp(i w/2) / 2 (i sin(w/2) - cos(w/2) (Lambda - P P*))^-1: diagonal plus low rank, so Woodbury's formula
    leaves four sums over 1 / (i sin(w/2) - cos(w/2) lambda). In this form nothing is singular at z = -1.
    """
    n = good_length(length)
    half_angle = torch.arange(n // 2 + 1, device=system.P.device, dtype=torch.float64) * (torch.pi / n)
    dtype = system.P.real.dtype
    sin, cos = half_angle.sin().to(dtype), half_angle.cos().to(dtype)

    A, _, C = system.dense()
    truncated = C - times_power(C, A, n)  # C (1 - A^n)
    C = torch.complex(*truncated.chunk(2, dim=-1)).conj() / 2
    left, right = torch.stack([C, system.P.conj()], 1), torch.stack([system.B, system.P], 1)
    products = (left.unsqueeze(2) * right.unsqueeze(1)).flatten(1, 2)  # CB, CP, P*B, P*P; (channels, 4, N/2)
    CB, CP, PB, PP = cauchy(products, system.eigenvalue, sin, cos).unbind(1)
    turn = torch.polar(torch.full_like(half_angle, 0.5), half_angle).to(CB.dtype)
    spectrum = turn * (CB - cos * CP * PB / (1 + cos * PP))
    return torch.fft.irfft(spectrum, n=n)[:, :length]


def cauchy(numerator: Tensor, pole: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
    """sum_n v_n / (i sin - cos p_n) + (the same of conjugates): (c, k, N/2), (c, N/2), (F,), (F,) -> (c, k, F).

    A conjugate pair has the real coefficients 2 (i sin Re v - cos Re(v p*)) / (cos^2 |p|^2 - sin^2 - 2i sin cos Re p),
    so all sums together are one real matrix product.
    """
    p = pole.unsqueeze(-1)
    denominator = torch.complex(cos.square() * p.abs().square() - sin.square(), -2 * sin * cos * p.real)
    inverse = torch.view_as_real(denominator.reciprocal()).flatten(2)  # (c, N/2, 2F)
    coefficients = torch.cat([numerator.real, (numerator * pole.conj().unsqueeze(1)).real], dim=1)
    sums = torch.view_as_complex(torch.bmm(coefficients, inverse).unflatten(2, (-1, 2)))  # (c, 2k, F)
    through_sin, through_cos = sums.chunk(2, dim=1)
    return 2 * (1j * sin * through_sin - cos * through_cos)


def powers(v: Tensor, A: Tensor, count: int) -> Tensor:
    """v A^l for l < count by doubling: (c, N), (c, N, N) -> (c, count, N)."""
    rows = v.unsqueeze(1)
    while rows.shape[1] < count:
        rows = torch.cat([rows, rows[:, : count - rows.shape[1]] @ A], dim=1)
        A = A @ A
    return rows


def times_power(v: Tensor, A: Tensor, exponent: int) -> Tensor:
    """v A^exponent by repeated squaring: (c, N) or (c, m, N), (c, N, N)."""
    rows = v if v.dim() == 3 else v.unsqueeze(1)
    while exponent:
        if exponent % 2:
            rows = rows @ A
        exponent //= 2
        A = A @ A if exponent else A
    return rows.view_as(v)


def _as_real(z: Tensor) -> Tensor:
    """[Re z, Im z] along the last dimension."""
    return torch.cat([z.real, z.imag], dim=-1)
