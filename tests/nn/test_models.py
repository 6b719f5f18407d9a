"""Streaming a model whose kernels are truncated."""

import warnings

import pytest
import torch

from seqboat_lab.config import ModelConfig
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn import SeqBoat


def make(kernel: str, truncation: int | None) -> SeqBoat:
    torch.manual_seed(0)
    ssm = SSM_CONFIGS[kernel](state_size=4, truncation=truncation)
    config = ModelConfig(
        layers=2, d_model=8, d_hidden=8, d_attention=4, bidirectional=False, position="rotary", ssm=ssm
    )
    return SeqBoat(config).double().eval()


@pytest.mark.parametrize("kernel", ["ema", "cema", "s4d"])
def test_streaming_a_truncated_kernel_warns_once_with_a_bound_that_holds(kernel):
    model = make(kernel, truncation=10)
    with pytest.warns(UserWarning, match="not their first 10 lags") as caught:
        model.init_state(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.init_state(2)
    ssm = model.layers[0].ssm
    bound = max(layer.ssm.dropped() for layer in model.layers)
    assert f"{bound:.1e}" in str(caught[0].message)
    worst = 0.0
    for _ in range(20):
        x = torch.randn(1, 300, 8, dtype=torch.double).sign()  # largest input 1
        cut, _ = ssm(x)
        whole, _ = ssm(x, state=ssm.init_state(1), need_state=True)
        worst = max(worst, (cut - whole).abs().max().item())
    assert 0.05 * ssm.dropped() < worst <= ssm.dropped() * (1 + 1e-9)


def test_streaming_whole_kernels_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("ema", None).init_state(1)
