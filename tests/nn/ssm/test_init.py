"""Kernels start as published, and stay finite however deep the network and long the sequence."""

import math

import numpy as np
import pytest
import torch

from seqboat_lab.config.configurator import EveryKthConfig
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import SSM_CONFIGS, CEMAConfig, LRUConfig, S4Config, S4DConfig, S5Config
from seqboat_lab.nn import SeqBoat
from seqboat_lab.nn.ssm import make_ssm
from seqboat_lab.nn.ssm.init import hippo_legs, hippo_nplr


def test_hippo_legs_has_the_published_entries():
    A, B = hippo_legs(3)
    s3, s5, s15 = math.sqrt(3), math.sqrt(5), math.sqrt(15)
    np.testing.assert_allclose(A, [[-1, 0, 0], [-s3, -2, 0], [-s5, -s15, -3]])
    np.testing.assert_allclose(B, [1, s3, s5])


@pytest.mark.parametrize("N", [2, 8, 64])
def test_diagonal_plus_low_rank_is_hippo_in_another_basis(N):
    A, B = hippo_legs(N)
    parts = hippo_nplr(N)
    V = torch.cat([parts.V, parts.V.conj()], 1)
    P = torch.cat([parts.P, parts.P.conj()])
    core = torch.diag(torch.cat([parts.eigenvalues, parts.eigenvalues.conj()])) - torch.outer(P, P.conj())
    torch.testing.assert_close(V @ core @ V.mH, A.to(core.dtype), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(V @ torch.cat([parts.B, parts.B.conj()]), B.to(core.dtype), atol=1e-9, rtol=1e-9)


def log_uniform_steps(log_dt: torch.Tensor) -> bool:
    dt = log_dt.exp()
    inside = bool(((dt >= 0.001 * 0.999) & (dt <= 0.1 * 1.001)).all())
    return inside and 0.4 < float((dt < 0.01).float().mean()) < 0.6  # half the draws below the geometric mean


def test_s4d_starts_with_linear_frequencies():
    ssm = make_ssm(S4DConfig(state_size=8), 500, bidirectional=False)
    assert torch.allclose(ssm.log_A_real.exp(), torch.tensor(0.5))
    torch.testing.assert_close(ssm.A_imag[7], math.pi * torch.arange(4))
    assert log_uniform_steps(ssm.log_dt)


def test_s4_and_s5_start_with_the_eigenvalues_of_hippos_normal_part():
    A, _ = hippo_legs(8)
    P = torch.sqrt(torch.arange(8) + 0.5).double()
    normal = np.linalg.eigvals((A + torch.outer(P, P)).numpy())
    expected = np.sort(normal.imag[normal.imag > 0])
    s4 = make_ssm(S4Config(state_size=8), 300, bidirectional=True)
    s5 = make_ssm(S5Config(state_size=800, blocks=100), 3, bidirectional=False)
    for ssm, frequencies in ((s4, s4.A_imag[5]), (s5, s5.A_imag[0, 4:8])):
        np.testing.assert_allclose(np.sort(frequencies.detach()), expected, rtol=1e-5)
        assert torch.allclose(ssm.log_A_real.exp(), torch.tensor(0.5))
        assert log_uniform_steps(ssm.log_dt)


def test_lru_draws_its_eigenvalues_uniformly_from_the_ring_and_normalises():
    config = LRUConfig(state_size=4000, r_min=0.6, r_max=0.9, max_phase=0.5)
    ssm = make_ssm(config, 2, bidirectional=False)
    radius, phase = torch.exp(-ssm.log_nu.exp()).detach().flatten(), ssm.log_theta.exp().detach()
    assert float(radius.min()) >= 0.6
    assert float(radius.max()) <= 0.9 + 1e-6
    half_area = math.sqrt((0.6**2 + 0.9**2) / 2)  # half of the ring's area lies within this radius
    assert abs(float((radius < half_area).float().mean()) - 0.5) < 0.04
    assert float(phase.max()) <= 0.5
    assert abs(float(phase.mean()) - 0.25) < 0.02
    torch.testing.assert_close(ssm.log_gamma.exp().flatten(), torch.sqrt(1 - radius**2), atol=1e-5, rtol=1e-4)


def test_cema_spreads_its_base_angles_over_the_channels():
    ssm = make_ssm(CEMAConfig(), 16, bidirectional=True)
    for direction in torch.sigmoid(ssm.theta.detach()).chunk(2):
        angles = np.sort(direction.flatten().numpy())
        np.testing.assert_allclose(angles, np.sort([16 ** (-j / 16) for j in range(1, 17)]), rtol=1e-4)
    assert not ssm.gamma_imag.any()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kernel", SSM_CONFIGS)
def test_parameters_are_dense(kernel, bidirectional):
    """torch's fused AdamW walks a parameter's memory whatever its strides: a view would be trained wrongly."""
    ssm = make_ssm(SSM_CONFIGS[kernel](state_size=4), 6, bidirectional)
    assert all(parameter.is_contiguous() for parameter in ssm.parameters())


def spread(parameter: torch.Tensor) -> float:
    """Root mean square of a parameter whose mean is 0."""
    return float(parameter.detach().square().mean().sqrt())


SKIP_STD = {"s4d": 1.0, "s4": 1.0, "s5": 1.0, "lru": 1.0, "cema": 0.25, "ema": 0.880}  # ema: normal cut at 2 std


@pytest.mark.parametrize("kernel", SSM_CONFIGS)
def test_skips_start_as_in_the_references(kernel):
    torch.manual_seed(0)
    omega = make_ssm(SSM_CONFIGS[kernel](state_size=2), 20_000, bidirectional=False).omega.detach()
    assert spread(omega) == pytest.approx(SKIP_STD[kernel], rel=0.03)
    assert float(omega.abs().max()) > (0.5 if kernel == "cema" else 1.9)  # cut at 4 std, at 2, or nowhere
    if kernel in ("s4d", "s4", "s5", "lru"):
        assert float(omega.abs().max()) > 3  # of a normal number, P(|x| > 3) = 0.0027


def test_cema_starts_as_megalodon_does():
    torch.manual_seed(0)
    ssm = make_ssm(CEMAConfig(state_size=16), 2_000, bidirectional=False)
    for parameter, std in ((ssm.alpha, 0.2), (ssm.delta, 0.2), (ssm.gamma, 1.0)):
        assert spread(parameter) == pytest.approx(std, rel=0.02)
        assert float(parameter.detach().abs().max()) > 3 * std  # not truncated
    assert float(ssm.omega.abs().max()) <= 1.0


@pytest.mark.parametrize("blocks", [1, 4])
def test_s5_draws_b_and_c_by_lecuns_rule_with_the_state_as_fan_in(blocks):
    torch.manual_seed(0)
    d, P = 256, 64
    ssm = make_ssm(S5Config(state_size=P, blocks=blocks), d, bidirectional=True)
    power = {name: float(getattr(ssm, name).detach().square().sum(-1).mean()) for name in ("B", "C")}
    assert power["B"] == pytest.approx(1 / P, rel=0.03)  # 0.0155 measured of the reference
    assert power["C"] == pytest.approx(2 / P, rel=0.03)  # real and imaginary parts of variance 1/P each


@pytest.mark.parametrize("prenorm", [False, True])
@pytest.mark.parametrize("kernel", SSM_CONFIGS)
def test_64_layers_over_16384_tokens_stay_finite(kernel, prenorm):
    torch.manual_seed(0)
    config = ModelConfig(
        layers=64, d_model=4, d_hidden=2, d_attention=2, memory_size=1, dropout=0.0, prenorm=prenorm,
        ssm=SSM_CONFIGS[kernel](state_size=4), configurator=EveryKthConfig(k=64),
    )  # fmt: skip
    net = SeqBoat(config)
    x = torch.randn(1, 16_384, 4, requires_grad=True)
    y, layers = net(x)
    y.square().sum().backward()
    assert all(out.y.isfinite().all() for out in layers)
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters())
