"""Complex MH-EMA (Megalodon, Ma et al. 2024, arXiv 2404.08801, eq. 2-4): exponential averages that oscillate."""

import math

import torch
from torch import Tensor, nn

from seqboat_lab.config.ssm import CEMAConfig, EMAConfig
from seqboat_lab.nn.ssm.base import FLOPs, scan_flops
from seqboat_lab.nn.ssm.ema import EMA


class CEMA(EMA):
    """EMA with decays turned by an angle: k[l] = Re sum_n p beta (gamma + i gamma_imag) N^-1/2 q^l,
    q = (1 - p sigma(alpha)) exp(i theta_n), theta_n = (2 pi n / N) sigma(theta), n = 1 .. N.

    Parameters beyond EMA's: theta (channels, 1), the base angle of each channel; gamma_imag (channels, N).
    The paper also turns the input by exp(i theta_n); a complex gamma absorbs that, as in the authors' code.
    """

    def __init__(self, config: CEMAConfig, d_model: int, bidirectional: bool):
        super().__init__(config, d_model, bidirectional)
        self.gamma_imag = nn.Parameter(torch.zeros_like(self.gamma))
        for parameter, std in ((self.delta, 0.2), (self.alpha, 0.2), (self.gamma, 1.0)):  # not truncated, as EMA's are
            nn.init.normal_(parameter, std=std)
        # base angles spread from 1/d to 1 on a logarithmic scale, in random order, as in the authors' code
        spread = torch.exp(-math.log(d_model) / d_model * torch.arange(1, d_model + 1)).clamp(max=0.999)
        shuffled = torch.cat([spread[torch.randperm(d_model)] for _ in range(self.directions)])
        self.theta = nn.Parameter(torch.logit(shuffled).unsqueeze(-1))

    def modes(self) -> tuple[Tensor, Tensor]:
        log_radius, weight = super().modes()  # (R, d, N)
        N = self.gamma.shape[1]
        order = torch.arange(1, N + 1, dtype=self.theta.dtype, device=self.theta.device)
        angle = self.by_direction(torch.sigmoid(self.theta) * (order * (2 * math.pi / N)))
        p = torch.sigmoid(self.delta)
        imaginary = self.by_direction(p * self.beta * self.gamma_imag * N**-0.5)
        return torch.complex(log_radius, angle), torch.complex(weight, imaginary)

    @staticmethod
    def init_skip(omega: Tensor) -> None:
        nn.init.trunc_normal_(omega, std=0.25, a=-1.0, b=1.0)

    @staticmethod
    def flops(config: EMAConfig | CEMAConfig, d_model: int, bidirectional: bool, length: int) -> FLOPs:
        return scan_flops(d_model, 2 * config.state_size, bidirectional, length, config.truncation)
