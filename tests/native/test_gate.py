"""The gate in C against torch's operations, and its gradient against finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from seqboat_lab.native.gate import gated


def inputs(h: int, columns: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(2, 5, h, dtype=dtype).requires_grad_(),
        torch.randn(2, 5, columns, dtype=dtype).requires_grad_(),
    ]


@pytest.mark.parametrize(("h", "columns"), [(1, 1), (7, 7), (8, 1), (21, 21), (40, 1), (64, 64)])
def test_it_is_silu_times_x(h, columns):
    """Parts of vectors, whole ones, both."""
    gate, x = inputs(h, columns)
    cotangent = torch.randn(2, 5, h, dtype=torch.float64)
    y, expected = gated(gate, x), F.silu(gate) * x
    torch.testing.assert_close(y, expected, rtol=1e-14, atol=1e-14)
    ours, theirs = (torch.autograd.grad(t, (gate, x), cotangent) for t in (y, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(gated, (gate, x))


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 5e-7), (torch.float64, 1e-15)])
def test_large_gates_are_open_or_shut(dtype, digits):
    gate = torch.linspace(-90, 90, 1801, dtype=torch.float64).view(1, -1)
    expected = F.silu(gate)
    y = gated(gate.to(dtype), torch.ones(1, 1, dtype=dtype)).double()
    torch.testing.assert_close(y, expected, rtol=50 * digits, atol=1e-35)
    assert gated(torch.tensor([[torch.nan, 1.0]]), torch.ones(1, 2)).isnan().tolist() == [[True, False]]


def test_what_it_cannot_read_goes_to_torch():
    """Two types, another shape, and rows that do not lie one after the other."""
    gate, x = inputs(12, 12, torch.float32)
    torch.testing.assert_close(gated(gate, x[:1]), F.silu(gate) * x[:1])
    assert gated(gate, x.double()).dtype == torch.float64
    torch.testing.assert_close(gated(gate.mT, x.mT), F.silu(gate.mT) * x.mT)
    assert gated(gate[:0], x[:0]).shape == (0, 5, 12)


def test_a_shut_gate_lets_nothing_through():
    """silu(-1e38) is 0, not the least exponential times 1e38."""
    assert gated(torch.tensor([[-1e38, -1e30]]), torch.ones(1, 2)).tolist() == [[0.0, 0.0]]


def test_its_gradient_has_one():
    gate, x = inputs(9, 1)
    assert torch.autograd.gradgradcheck(gated, (gate, x))
    (grad,) = torch.autograd.grad(gated(gate, x).square().sum(), gate, create_graph=True)
    (expected,) = torch.autograd.grad((F.silu(gate) * x).square().sum(), gate, create_graph=True)
    torch.testing.assert_close(
        *(torch.autograd.grad(t.square().sum(), (gate, x)) for t in (grad, expected)), rtol=1e-12, atol=1e-12
    )


def test_who_watches_operations_sees_those_of_torch():
    gate, x = (t.detach() for t in inputs(9, 9))
    traced = make_fx(gated)(gate, x)
    torch.testing.assert_close(traced(2 * gate, x), gated(2 * gate, x))
    torch.testing.assert_close(torch.func.vmap(gated)(gate, x), gated(gate, x))
    with FakeTensorMode():
        assert gated(torch.empty(3, 9), torch.empty(3, 1)).shape == (3, 9)
