"""LRU: the linear recurrent unit (Orvieto et al. 2023, arXiv 2303.06349, section 3)."""

import torch
from torch import Tensor, nn

from seqboat_lab.config.ssm import LRUConfig
from seqboat_lab.nn.ssm.init import complex_normal
from seqboat_lab.nn.ssm.mimo import MIMODiagonalSSM


class LRU(MIMODiagonalSSM):
    """h_t = a h_{t-1} + exp(log_gamma) B x_t, y = Re(C h), a = exp(-exp(log_nu) + i exp(log_theta)).

    Eigenvalues start uniform in the ring r_min <= |a| <= r_max, angles in [0, max_phase], and gamma at
    sqrt(1 - |a|^2), which keeps the state's variance at that of the input (eq. 7).
    Parameters, for R directions: log_nu, log_theta, log_gamma (R, P), B (R, P, d, 2), C (R, d, P, 2).
    """

    slow_parameters = ("log_nu", "log_theta", "log_gamma", "B")  # B with them, as in minimal-LRU
    decayed_parameters = ("C", "omega")

    def __init__(self, config: LRUConfig, d_model: int, bidirectional: bool):
        super().__init__(d_model, bidirectional)
        R, P = (2 if bidirectional else 1), config.state_size
        tiny = 1e-6  # a modulus or an angle of exactly 0 or 1 has no finite logarithm
        low, high = config.r_min**2, config.r_max**2
        radius_squared = (torch.rand(R, P) * (high - low) + low).clamp(tiny, 1 - tiny)
        self.log_nu = nn.Parameter(torch.log(-0.5 * torch.log(radius_squared)))
        self.log_theta = nn.Parameter(torch.log((torch.rand(R, P) * config.max_phase).clamp(min=tiny)))
        self.log_gamma = nn.Parameter(0.5 * torch.log1p(-radius_squared))
        self.B = nn.Parameter(complex_normal(R, P, d_model, std=d_model**-0.5))
        self.C = nn.Parameter(complex_normal(R, d_model, P, std=(2 / P) ** 0.5))

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        log_decay = torch.complex(-torch.exp(self.log_nu), torch.exp(self.log_theta))
        B = torch.exp(self.log_gamma).unsqueeze(-1) * torch.view_as_complex(self.B)
        return log_decay, B, torch.view_as_complex(self.C)

    @staticmethod
    def count_modes(config: LRUConfig) -> int:
        return config.state_size
