"""Dropout: what is dropped, how often, and that means stay."""

import math

import pytest
import torch

from seqboat_lab.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_it_drops_a_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    n = 400_001  # not a multiple of four
    y = Dropout(p)(torch.ones(n))
    dropped = (y == 0).double().mean()
    assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / n)
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-3)
    assert abs(y.double().mean() - 1) < 5 * math.sqrt(p / (1 - p) / n)


def test_elements_are_dropped_one_by_one():
    """Of the four that share a number of the generator, each is dropped alike and none with another."""
    torch.manual_seed(0)
    dropped = (Dropout(0.25)(torch.ones(200_000, 4)) == 0).double()
    covariance = torch.cov(dropped.T)
    expected = 0.25 * 0.75 * torch.eye(4, dtype=torch.double)
    torch.testing.assert_close(covariance, expected, rtol=0, atol=0.002)
    torch.testing.assert_close(dropped.mean(0), torch.full((4,), 0.25, dtype=torch.double), rtol=0, atol=0.005)


def test_its_gradient_is_its_mask():
    x = torch.randn(3, 7, 5, dtype=torch.double).transpose(0, 1).requires_grad_()
    y = Dropout(0.4)(x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(x * grad, y)
    assert y.dtype == x.dtype


def test_the_generator_decides():
    drop, x = Dropout(0.3), torch.randn(50)
    torch.manual_seed(1)
    one, other = drop(x), drop(x)
    torch.manual_seed(1)
    assert torch.equal(drop(x), one)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.3, False), (1.0, False), (1e-9, True)])
def test_nothing_is_dropped(p, training):
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(p).train(training)(x), x)


def test_all_is_dropped():
    assert not Dropout(1.0)(torch.ones(9)).any()
    assert Dropout(0.5)(torch.ones(0, 3)).shape == (0, 3)
