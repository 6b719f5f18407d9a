"""S5: one diagonal state space model for all channels (Smith et al. 2023, arXiv 2208.04933)."""

import torch
from torch import Tensor, nn

from seqboat_lab.config.ssm import S5Config
from seqboat_lab.nn.ssm.init import as_pairs, hippo_nplr, lecun_normal, log_uniform
from seqboat_lab.nn.ssm.mimo import MIMODiagonalSSM


class S5(MIMODiagonalSSM):
    """Zero-order hold of x' = A x + B u, y = 2 Re(C x), A = diag(-exp(log_A_real) + i A_imag) in P/2 pairs.

    A starts as the eigenvalues of J HiPPO-N blocks, B and C in their eigenbasis (section 3.3, appendix B.1).
    Parameters, for R directions: log_A_real, A_imag, log_dt (R, P/2), B (R, P/2, d, 2), C (R, d, P/2, 2).
    """

    slow_parameters = ("log_A_real", "A_imag", "log_dt", "B")
    decayed_parameters = ("C", "omega")

    def __init__(self, config: S5Config, d_model: int, bidirectional: bool):
        super().__init__(d_model, bidirectional)
        R, P, J = (2 if bidirectional else 1), config.state_size, config.blocks
        legs = hippo_nplr(P // J)
        V = legs.V.to(torch.cfloat)  # (P/J, P/2J)
        eigenvalues = legs.eigenvalues.repeat(J)
        self.log_A_real = nn.Parameter(as_pairs(eigenvalues, R)[..., 0].neg().log())
        self.A_imag = nn.Parameter(as_pairs(eigenvalues, R)[..., 1].clone())  # dense: fused optimisers ignore strides
        self.log_dt = nn.Parameter(log_uniform((R, P // 2), config.dt_min, config.dt_max))
        B = lecun_normal(R, J, P // J, d_model, fan_in=P)  # the reference's shape (P, d) makes P the fan-in
        self.B = nn.Parameter(torch.view_as_real((V.mH @ B.to(V.dtype)).flatten(1, 2)).contiguous())
        C = lecun_normal(R, d_model, J, P // J, 2, fan_in=P)
        self.C = nn.Parameter(torch.view_as_real((torch.view_as_complex(C) @ V).flatten(2)).contiguous())

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        A = torch.complex(-torch.exp(self.log_A_real), self.A_imag)
        log_decay = A * torch.exp(self.log_dt)
        B = (torch.expm1(log_decay) / A).unsqueeze(-1) * torch.view_as_complex(self.B)
        return log_decay, B, 2 * torch.view_as_complex(self.C)

    @staticmethod
    def count_modes(config: S5Config) -> int:
        return config.state_size // 2
