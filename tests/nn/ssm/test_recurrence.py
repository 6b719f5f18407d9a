"""The chunked recurrence against a plain loop, at lengths with one, two and three levels of chunks."""

import pytest
import torch
from torch import Tensor

from seqboat_lab.nn.ssm.recurrence import recurrence


def loop(u: Tensor, log_decay: Tensor, state: Tensor) -> Tensor:
    h = []
    for token in u.unbind(1):
        state = torch.exp(log_decay) * state + token
        h.append(state)
    return torch.stack(h, 1)


def case(length: int) -> list[Tensor]:
    torch.manual_seed(length)
    u = torch.randn(2, length, 3, dtype=torch.complex128)
    log_decay = torch.complex(-torch.rand(3).double() * 0.05, 3 * torch.rand(3).double())
    state = torch.randn(2, 3, dtype=torch.complex128)
    return [t.requires_grad_() for t in (u, log_decay, state)]


@pytest.mark.parametrize("length", [1, 31, 32, 33, 48, 511, 513, 9000])
def test_values_and_gradients_equal_those_of_a_loop(length):
    inputs = case(length)
    weight = torch.randn(2, length, 3, dtype=torch.complex128)
    ours, expected = recurrence(*inputs), loop(*inputs)
    torch.testing.assert_close(ours, expected)
    gradients = (torch.autograd.grad((h * weight).real.sum(), inputs) for h in (ours, expected))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected)


def test_the_input_is_left_as_it_was():
    for length in (20, 64, 100):
        inputs = case(length)
        before = inputs[0].detach().clone()
        recurrence(*inputs)
        torch.testing.assert_close(inputs[0], before, rtol=0, atol=0)
