"""S4D: a diagonal state space model in every channel (Gu et al. 2022, arXiv 2206.11893)."""

import math

import torch
from torch import Tensor, nn

from seqboat_lab.config.ssm import S4DConfig
from seqboat_lab.nn.ssm.base import DiagonalSSM, FLOPs, scan_flops
from seqboat_lab.nn.ssm.init import complex_normal, log_uniform


class S4D(DiagonalSSM):
    """k[l] = 2 Re sum_n C_n (exp(dt A_n) - 1)/A_n exp(dt A_n l), A = -exp(log_A_real) + i A_imag, B = 1.

    Zero-order hold of N/2 conjugate pairs; S4D-Lin starts at A_n = -1/2 + i pi n. Parameters log_A_real,
    A_imag (channels, N/2), C (channels, N/2, 2), log_dt (channels, 1), the backward direction's channels last.
    """

    slow_parameters = ("log_A_real", "A_imag", "log_dt")
    decayed_parameters = ("C", "omega")

    def __init__(self, config: S4DConfig, d_model: int, bidirectional: bool):
        super().__init__(d_model, bidirectional, config.truncation)
        channels, pairs = self.directions * d_model, config.state_size // 2
        self.log_A_real = nn.Parameter(torch.full((channels, pairs), math.log(0.5)))
        self.A_imag = nn.Parameter((math.pi * torch.arange(pairs)).expand(channels, pairs).clone())
        self.C = nn.Parameter(complex_normal(channels, pairs))
        self.log_dt = nn.Parameter(log_uniform((channels, 1), config.dt_min, config.dt_max))

    def modes(self) -> tuple[Tensor, Tensor]:
        A = torch.complex(-torch.exp(self.log_A_real), self.A_imag)
        log_decay = A * torch.exp(self.log_dt)
        weight = 2 * torch.view_as_complex(self.C) * torch.expm1(log_decay) / A
        return self.by_direction(log_decay), self.by_direction(weight)

    @staticmethod
    def flops(config: S4DConfig, d_model: int, bidirectional: bool, length: int) -> FLOPs:
        return scan_flops(d_model, config.state_size, bidirectional, length, config.truncation)
