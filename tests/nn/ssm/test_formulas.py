"""Each kernel against the formula of its paper, written out with loops in double precision."""

import cmath
import math

import numpy as np
import pytest
import torch

from seqboat_lab.config.ssm import S4Config
from seqboat_lab.nn.ssm import make_ssm
from seqboat_lab.nn.ssm.init import hippo_legs, hippo_nplr


def numbers(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().double().numpy()


def complex_numbers(parameter: torch.Tensor) -> np.ndarray:
    pairs = numbers(parameter)
    return pairs[..., 0] + 1j * pairs[..., 1]


def impulse_response(ssm, length: int) -> np.ndarray:
    """Kernels (d, length) of a causal per-channel SSM."""
    impulse = torch.zeros(1, length, len(ssm.omega))
    impulse[:, 0] = 1
    with torch.no_grad():
        y = ssm(impulse)[0][0] - ssm.omega * impulse[0]
    return y.T.double().numpy()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("kernel", ["ema", "cema"])
def test_exponential_averages(kernel, make_kernel):
    ssm = make_kernel(kernel)
    p = {name: numbers(value) for name, value in ssm.named_parameters()}
    expected = np.zeros((3, 150))
    for c in range(3):
        for n in range(4):
            weight = sigmoid(p["delta"][c, n])
            radius = 1 - weight * sigmoid(p["alpha"][c, n])
            angle = 2 * math.pi * (n + 1) / 4 * sigmoid(p["theta"][c, 0]) if kernel == "cema" else 0.0
            gamma = complex(p["gamma"][c, n], p["gamma_imag"][c, n] if kernel == "cema" else 0.0)
            for lag in range(150):
                q = cmath.rect(radius**lag, angle * lag)
                expected[c, lag] += (weight * p["beta"][c, n] * gamma * 4**-0.5 * q).real
    np.testing.assert_allclose(impulse_response(ssm, 150), expected, atol=1e-5)


def test_complex_averages_without_angle_are_exponential_averages(make_kernel):
    cema, ema = make_kernel("cema", bidirectional=True), make_kernel("ema", bidirectional=True)
    with torch.no_grad():
        cema.theta.fill_(-200.0)  # sigma(-200) = 0
    ema.load_state_dict({k: v for k, v in cema.state_dict().items() if k not in ("theta", "gamma_imag")})
    x = torch.randn(2, 90, 3)
    torch.testing.assert_close(cema(x)[0], ema(x)[0], atol=1e-5, rtol=0)


def test_s4d_is_zero_order_hold_of_conjugate_pairs(make_kernel):
    ssm = make_kernel("s4d", state_size=6)
    A = -np.exp(numbers(ssm.log_A_real)) + 1j * numbers(ssm.A_imag)
    C, dt = complex_numbers(ssm.C), np.exp(numbers(ssm.log_dt))
    expected = np.zeros((3, 200))
    for lag in range(200):
        for n in range(3):
            a = A[:, n]
            expected[:, lag] += 2 * (C[:, n] * (np.exp(dt[:, 0] * a) - 1) / a * np.exp(dt[:, 0] * a * lag)).real
    np.testing.assert_allclose(impulse_response(ssm, 200), expected, atol=1e-5)


def bilinear(A: np.ndarray, B: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    left = np.linalg.inv(np.eye(len(A)) - dt / 2 * A)
    return left @ (np.eye(len(A)) + dt / 2 * A), left @ B * dt


@pytest.mark.parametrize("state_size", [2, 16, 64])
@pytest.mark.parametrize("length", [1, 33, 400])
def test_s4_starts_as_the_dense_hippo_recurrence(state_size, length):
    torch.manual_seed(0)
    ssm = make_ssm(S4Config(state_size=state_size), 4, bidirectional=False)
    A, B = (t.numpy() for t in hippo_legs(state_size))
    into_eigenbasis = hippo_nplr(state_size).V.numpy().conj().T  # (N/2, N)
    for channel in range(4):
        A_bar, state = bilinear(A, B, np.exp(numbers(ssm.log_dt)[channel, 0]))
        C = 2 * (complex_numbers(ssm.C)[channel] @ into_eigenbasis).real
        expected = []
        for _ in range(length):
            expected.append(C @ state)
            state = A_bar @ state
        kernel = ssm.kernel(length)[0, channel].detach().numpy()
        np.testing.assert_allclose(kernel, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_s4_off_its_start_is_the_dense_recurrence_of_its_own_matrix(make_kernel):
    ssm = make_kernel("s4", state_size=8)
    half = -np.exp(numbers(ssm.log_A_real)) + 1j * numbers(ssm.A_imag)
    P, B, C = (complex_numbers(getattr(ssm, name)) for name in "PBC")
    with_conjugates = [np.concatenate([z, z.conj()], axis=1) for z in (half, P, B, C)]
    for channel, (eigenvalues, P, B, C) in enumerate(zip(*with_conjugates, strict=True)):
        A = np.diag(eigenvalues) - np.outer(P, P.conj())
        A_bar, state = bilinear(A, B, np.exp(numbers(ssm.log_dt)[channel, 0]))
        expected = []
        for _ in range(150):
            expected.append((C @ state).real)
            state = A_bar @ state
        np.testing.assert_allclose(ssm.kernel(150)[0, channel].detach().numpy(), expected, atol=1e-4)


def plain_loop(a: np.ndarray, B: np.ndarray, C: np.ndarray, x: np.ndarray) -> np.ndarray:
    """y_t = Re(C h_t), h_t = a h_{t-1} + B x_t, for x (L, d)."""
    h, y = np.zeros(len(a), complex), []
    for token in x:
        h = a * h + B @ token
        y.append((C @ h).real)
    return np.stack(y)


def both_ways(system, x: np.ndarray) -> np.ndarray:
    forward, *backward = (plain_loop(*(part[r] for part in system), x[:: 1 - 2 * r]) for r in range(len(system[0])))
    return forward + sum(y[::-1] for y in backward)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_s5_is_a_plain_loop_over_a_zero_order_hold(bidirectional, make_kernel):
    ssm, x = make_kernel("s5", bidirectional, state_size=8, blocks=2), torch.randn(1, 150, 3)
    A = -np.exp(numbers(ssm.log_A_real)) + 1j * numbers(ssm.A_imag)
    a = np.exp(A * np.exp(numbers(ssm.log_dt)))
    B = ((a - 1) / A)[..., None] * complex_numbers(ssm.B)
    expected = both_ways((a, B, 2 * complex_numbers(ssm.C)), x[0].double().numpy())
    np.testing.assert_allclose((ssm(x)[0] - ssm.omega * x)[0].detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lru_is_a_plain_loop_over_its_eigenvalues(bidirectional, make_kernel):
    ssm, x = make_kernel("lru", bidirectional, state_size=5), torch.randn(1, 150, 3)
    a = np.exp(-np.exp(numbers(ssm.log_nu)) + 1j * np.exp(numbers(ssm.log_theta)))
    B = np.exp(numbers(ssm.log_gamma))[..., None] * complex_numbers(ssm.B)
    expected = both_ways((a, B, complex_numbers(ssm.C)), x[0].double().numpy())
    np.testing.assert_allclose((ssm(x)[0] - ssm.omega * x)[0].detach().numpy(), expected, atol=1e-4)
