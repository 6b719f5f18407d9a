"""A whole layer with its parts in C and without: the same in float64, whatever it is made of."""

import itertools

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from seqboat_lab.config.ssm import SSM_CONFIGS

FUNCTIONS = {"softmax": "bias", "relu2": "local", "laplace": "rotary"}


def outputs(layer, x, padding_mask=None, state=None) -> list[torch.Tensor]:
    """The output, a carried state's tensors, and all gradients."""
    out = layer(x, padding_mask, state)
    carried = [] if state is None else [t for t in (out.state.ssm, *out.state.memory) if isinstance(t, torch.Tensor)]
    torch.manual_seed(1)
    loss = (out.y * torch.randn_like(out.y)).sum()
    return [out.y, *carried, *torch.autograd.grad(loss, [x, *layer.parameters()], allow_unused=True)]


def same(one, other) -> None:
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("kernel", "attention", "bidirectional"), list(itertools.product(SSM_CONFIGS, FUNCTIONS, (True, False)))
)
def test_it_is_the_same_layer(make_layer, monkeypatch, kernel, attention, bidirectional):
    ssm, position = SSM_CONFIGS[kernel](), FUNCTIONS[attention]
    layer = make_layer(ssm=ssm, attention=attention, position=position, bidirectional=bidirectional, max_positions=128)
    x = torch.randn(2, 90, 12, dtype=torch.double, requires_grad=True)
    padding_mask = torch.arange(90) >= torch.tensor([[90], [71]])
    found = []
    for wanted in "10":
        monkeypatch.setenv("SEQBOAT_NATIVE", wanted)
        found.append(outputs(layer, x, padding_mask))
        if not bidirectional:
            found[-1] += outputs(layer, x, state=layer(x, state=layer.init_state(2)).state)
    same(*found)


def test_steps_agree_with_it(make_layer):
    layer = make_layer(bidirectional=False, position="rotary")
    x = torch.randn(2, 80, 12, dtype=torch.double)
    with torch.no_grad():
        state, steps = layer.init_state(2), []
        for t in range(80):
            y, _, state = layer.step(x[:, t], state)
            steps.append(y)
        torch.testing.assert_close(layer(x).y, torch.stack(steps, 1), rtol=1e-10, atol=1e-10)


def test_a_batch_without_active_tokens(make_layer):
    layer = make_layer()
    with torch.no_grad():
        layer.hx_proj.bias[1] = -1e3
    out = layer(torch.randn(2, 9, 12, dtype=torch.double))
    assert not out.active.any()
    out.y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_it_can_be_checkpointed(make_layer):
    """Saved tensors are asked for once."""
    layer, x = make_layer(), torch.randn(2, 40, 12, dtype=torch.double, requires_grad=True)
    plain = torch.autograd.grad(layer(x).y.sum(), x)
    assert torch.equal(
        torch.autograd.grad(checkpoint(lambda x: layer(x).y, x, use_reentrant=False).sum(), x)[0], *plain
    )
