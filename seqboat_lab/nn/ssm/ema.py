"""MH-EMA: multi-head exponential moving average (Mega, Ma et al. 2023, arXiv 2209.10655, eq. 4-8)."""

import torch
from torch import Tensor, nn

from seqboat_lab.config.ssm import CEMAConfig, EMAConfig
from seqboat_lab.nn.ssm.base import DiagonalSSM, FLOPs, scan_flops


class EMA(DiagonalSSM):
    """k[l] = sum_n p beta gamma N^-1/2 q^l with p = sigma(delta), q = 1 - p sigma(alpha).

    Parameters delta, alpha, beta, gamma: (channels, N), the backward direction's channels last; omega: (d,).
    """

    def __init__(self, config: EMAConfig | CEMAConfig, d_model: int, bidirectional: bool):
        super().__init__(d_model, bidirectional, config.truncation)
        shape = (self.directions * d_model, config.state_size)
        self.delta, self.alpha, self.beta, self.gamma = (nn.Parameter(torch.empty(shape)) for _ in range(4))
        for parameter, std in ((self.delta, 0.2), (self.alpha, 0.2), (self.beta, 0.02), (self.gamma, 1.0)):
            nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
        with torch.no_grad():  # alternating signs let neighbouring averages form differences
            self.beta[:, 0::2] += 1
            self.beta[:, 1::2] -= 1

    def modes(self) -> tuple[Tensor, Tensor]:
        p = torch.sigmoid(self.delta)
        # log(1 - p sigma(alpha)) by log1p keeps decays near 1 exact; the bound keeps it finite at saturation
        log_q = torch.log1p(-(p * torch.sigmoid(self.alpha)).clamp(max=1 - 1e-6))
        weight = p * self.beta * self.gamma * self.gamma.shape[1] ** -0.5
        return self.by_direction(log_q), self.by_direction(weight)

    @staticmethod
    def init_skip(omega: Tensor) -> None:
        nn.init.trunc_normal_(omega)

    @staticmethod
    def flops(config: EMAConfig | CEMAConfig, d_model: int, bidirectional: bool, length: int) -> FLOPs:
        return scan_flops(d_model, config.state_size, bidirectional, length, config.truncation)
