"""Mixture-of-Depths against loops written from the paper: which tokens are routed, and what is learnt from it."""

import math

import pytest
import torch
import torch.nn.functional as F

double = {"dtype": torch.double}


def loop(layer, x, routed):
    """x (L, d), routed (L,) bool: x + r f(x), the block among the routed tokens alone, each at its own position."""
    x = x.clone()
    chosen = [i for i in range(len(x)) if routed[i]]
    if not chosen:
        return x
    r = x @ layer.router.weight[0]
    normed = torch.zeros_like(x)
    normed[chosen] = layer.norm1(x[chosen])
    # attention over all positions, of which those that are not routed cannot be seen
    m = layer.attention
    size = x.shape[1] // m.heads
    q, k, v = (normed @ m.qkv_proj.weight.T + m.qkv_proj.bias).view(len(x), 3, m.heads, size).unbind(1)
    out = torch.zeros_like(x)
    theta = torch.tensor([10000.0 ** (-2 * n / size) for n in range(size // 2)], **double)
    for h in range(m.heads):
        for i in chosen:
            keys = [j for j in chosen if j <= i]
            scores = []
            for j in keys:  # rotary: the angle between a query and a key depends on their distance alone
                a, b = (torch.view_as_complex(t.view(-1, 2).contiguous()) for t in (q[i, h], k[j, h]))
                turn = torch.polar(torch.ones_like(theta), (i - j) * theta)
                scores.append((a * turn * b.conj()).real.sum() / math.sqrt(size))
            out[i, h * size : (h + 1) * size] = torch.softmax(torch.stack(scores), 0) @ v[keys, h]
    y = x.clone()
    for i in chosen:
        a = m.out_proj.weight @ out[i] + m.out_proj.bias
        y[i] = x[i] + r[i] * (a + layer.mlp.of_tokens(layer.norm2(x[i] + a)))
    return y


@torch.no_grad()
def test_evaluation_routes_what_the_predictor_says(make):
    layer = make("mod")
    x = torch.randn(3, 25, 12, **double)
    out = layer(x)
    assert torch.equal(out.active, layer.predictor(x).squeeze(-1) > 0)
    assert 0.1 < out.active.double().mean() < 0.9
    for row, y, routed in zip(x, out.y, out.active, strict=True):
        torch.testing.assert_close(y, loop(layer, row, routed), rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("capacity", [0.0, 0.125, 0.5, 1.0])
def test_training_routes_the_share_of_largest_weight_in_each_row(make, capacity):
    layer = make("mod", settings={"capacity": capacity}).train()
    x = torch.randn(3, 25, 12, **double)
    lengths = [25, 17, 3]
    out = layer(x, torch.arange(25) >= torch.tensor(lengths).unsqueeze(1))
    for row, y, active, n in zip(x, out.y, out.active, lengths, strict=True):
        r = (row[:n] @ layer.router.weight[0]).tolist()
        largest = sorted(range(n), key=lambda i: -r[i])[: math.ceil(capacity * n)]
        assert active.nonzero().flatten().tolist() == sorted(largest)
        torch.testing.assert_close(y[:n], loop(layer, row[:n], active[:n]), rtol=1e-9, atol=1e-9)


def test_the_predictor_learns_the_choice_and_its_loss_moves_nothing_else(make):
    layer = make("mod").train()
    x = torch.randn(2, 20, 12, requires_grad=True, **double)
    out = layer(x)
    out.y.square().sum().backward()
    expected = F.binary_cross_entropy_with_logits(layer.predictor(x.detach()).squeeze(-1), out.active.double())
    for parameter, gradient in zip(
        layer.predictor.parameters(), torch.autograd.grad(expected, [*layer.predictor.parameters()]), strict=True
    ):
        torch.testing.assert_close(parameter.grad, gradient)
    rows = [loop(layer, row, routed) for row, routed in zip(x, out.active, strict=True)]
    (alone,) = torch.autograd.grad(torch.stack(rows).square().sum(), x)
    torch.testing.assert_close(x.grad, alone)
