"""Kernels with weights off their starting point, so that every parameter shows in the output."""

import pytest
import torch

from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn.ssm import SSM, make_ssm


@pytest.fixture(scope="session")
def make_kernel():
    def make(kernel: str, bidirectional: bool = False, d_model: int = 3, seed: int = 0, **fields) -> SSM:
        torch.manual_seed(seed)
        ssm = make_ssm(SSM_CONFIGS[kernel](**({"state_size": 4} | fields)), d_model, bidirectional)
        with torch.no_grad():
            for parameter in ssm.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        return ssm

    return make
