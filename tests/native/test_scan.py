"""The filter in C against the recurrence written as a loop, and its gradient against finite differences."""

import itertools

import pytest
import torch
from torch import Tensor

from seqboat_lab.native.scan import can_scan, scan


def case(B: int, L: int, d: int, R: int, n: int, is_complex: bool, with_state: bool = False) -> list[Tensor | None]:
    """x, hidden, omega, log_decay, weight, state"""
    torch.manual_seed(0)
    dtype = torch.complex128 if is_complex else torch.float64
    log_decay = torch.randn(R, d, n, dtype=dtype)
    log_decay = torch.complex(-log_decay.real.abs() - 0.01, log_decay.imag) if is_complex else -log_decay.abs() - 0.01
    x, omega = torch.randn(B, L, d, dtype=torch.float64), torch.randn(d, dtype=torch.float64)
    state = torch.randn(B, d, n, dtype=dtype) if with_state else None
    return [x, torch.rand(B, L) < 0.3, omega, log_decay, torch.randn(R, d, n, dtype=dtype), state]


def loop(x, hidden, omega, log_decay, weight, state) -> tuple[Tensor, Tensor]:
    """The definition, a token at a time."""
    seen, y = x.masked_fill(hidden.unsqueeze(-1), 0.0), omega * x
    for r, (decay, w) in enumerate(zip(log_decay.exp(), weight, strict=True)):
        h = decay.new_zeros(len(x), *decay.shape) if state is None else state
        for t in range(x.shape[1]) if r == 0 else reversed(range(x.shape[1])):
            h = decay * h + seen[:, t].unsqueeze(-1)
            y[:, t] += torch.real((w * h).sum(-1))
    return y, h


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("R", [1, 2])
@pytest.mark.parametrize(("B", "L", "d", "n"), [(1, 1, 1, 1), (2, 32, 8, 3), (3, 33, 21, 2), (1, 100, 40, 5)])
def test_it_equals_the_loop(B, L, d, n, R, is_complex):
    """Channels of a part of a vector, segments that end within a sequence."""
    inputs = case(B, L, d, R, n, is_complex)
    torch.testing.assert_close(scan(*inputs, need_state=False)[0], loop(*inputs)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("is_complex", [False, True])
def test_states_go_in_and_come_out(is_complex):
    inputs = case(2, 37, 9, 1, 3, is_complex, with_state=True)
    for found, expected in zip(scan(*inputs, need_state=True), loop(*inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("R", "is_complex", "with_state"),
    [(R, c, s) for R, c, s in itertools.product((1, 2), (False, True), (False, True)) if R == 1 or not s],
)
def test_gradients_by_finite_differences(R, is_complex, with_state):
    x, hidden, omega, log_decay, weight, state = case(2, 35, 3, R, 2, is_complex, with_state)
    tensors = [t.requires_grad_() for t in (x, omega, log_decay, weight, state) if t is not None]

    def run(x, omega, log_decay, weight, state=None):
        found = scan(x, hidden, omega, log_decay, weight, state, need_state=with_state)
        return found if with_state else found[0]

    assert torch.autograd.gradcheck(run, tensors, fast_mode=True)


def test_a_slow_mode_keeps_its_time_scale_in_float32():
    """1 - a = 1e-6 has no digits left in a float32 a; a constant input then gives 1 / (1 - a)."""
    gap = torch.tensor([[[1e-6]]])
    length = 200_000
    none = torch.zeros(1, length, dtype=torch.bool)
    y, _ = scan(torch.ones(1, length, 1), none, torch.zeros(1), torch.log1p(-gap), torch.ones(1, 1, 1), None, False)
    expected = (1 - torch.exp(-length * 1e-6 * torch.ones(1, dtype=torch.float64))) / 1e-6
    torch.testing.assert_close(y[0, -1].double(), expected, rtol=1e-3, atol=0)


def test_what_is_hidden_and_not_finite_stays_its_own():
    inputs = case(1, 40, 4, 2, 2, is_complex=False)
    inputs[1] = torch.zeros(1, 40, dtype=torch.bool)
    inputs[1][0, 7] = True
    expected = loop(*inputs)[0]
    inputs[0][0, 7] = torch.nan
    y, _ = scan(*inputs, need_state=False)
    others = torch.arange(40) != 7
    assert y[0, 7].isnan().all()
    torch.testing.assert_close(y[:, others], expected[:, others], rtol=1e-12, atol=1e-12)


def test_threads_change_nothing():
    inputs = [t if t is None or t.dtype == torch.bool else t.requires_grad_() for t in case(3, 50, 40, 2, 3, False)]
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        y, _ = scan(*inputs, need_state=False)
        found.append([y, *torch.autograd.grad(y.sum(), [t for t in inputs if t is not None and t.requires_grad])])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_tensors_of_another_type_are_left_to_torch():
    x, _, omega, log_decay, weight, _ = case(1, 4, 3, 1, 2, is_complex=True)
    assert can_scan(x, omega, log_decay, weight)
    assert not can_scan(x.float(), omega, log_decay, weight)
    assert not can_scan(x, omega.float(), log_decay, weight)
    assert not can_scan(x, omega, log_decay, weight.real)
    assert not can_scan(x[:, :0], omega, log_decay, weight)


def test_states_of_other_shapes_and_types_are_left_to_torch():
    """C would read past their end."""
    x, _, omega, log_decay, weight, state = case(2, 4, 3, 1, 2, is_complex=True, with_state=True)
    assert can_scan(x, omega, log_decay, weight, state)
    for wrong in (state[:1], state.repeat(2, 1, 1), state[..., :1], state.real, state.cfloat()):
        assert not can_scan(x, omega, log_decay, weight, wrong)
    assert not can_scan(x, omega, log_decay, weight[..., :1])
    assert not can_scan(x, omega, log_decay[:, :1], weight[:, :1])
    assert not can_scan(x, omega[:1], log_decay, weight)


def test_what_torch_has_only_noted_as_conjugated():
    inputs = case(2, 9, 3, 1, 2, is_complex=True, with_state=True)
    inputs[3:] = [t.conj() for t in inputs[3:]]
    for found, expected in zip(scan(*inputs, need_state=True), loop(*inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    x = inputs[0].requires_grad_()
    cotangent = torch.randn(2, 3, 2, dtype=torch.complex128).conj()
    ours, theirs = (torch.autograd.grad(f[1], x, cotangent) for f in (scan(*inputs, need_state=True), loop(*inputs)))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_second_gradient_is_refused():
    """With torch's own decorator it would be left out without a word."""
    inputs = case(1, 9, 3, 1, 2, is_complex=False)
    x = inputs[0].requires_grad_()
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(scan(*inputs, need_state=False)[0].square().sum(), x, create_graph=True)
