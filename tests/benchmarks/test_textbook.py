"""The benchmark's plain layer is a second oracle: what is timed side by side must give the same numbers."""

from dataclasses import replace

import pytest
import torch

from benchmarks.cases import CASES, layer_and_input, matmul_flops
from benchmarks.textbook import TextbookLayer


@pytest.mark.parametrize("name", ["listops", "image", "pathx", "enwik8"])
def test_the_layer_equals_the_textbook_at_the_benchmarks_recipes(name):
    case = replace(CASES[name], length=700, batch=2)  # more active tokens than the window holds, save enwik8's
    layer, x = layer_and_input(case)
    layer.double()  # so that agreement is a matter of formulas, not of the order of sums
    x = x.detach().double().requires_grad_()
    textbook = TextbookLayer(layer)
    cotangent = torch.randn_like(x)
    out = layer(x)
    assert out.active.float().mean() == pytest.approx(case.rate, abs=0.02)
    results = []
    for y in (out.y, textbook(x)):
        layer.zero_grad()
        x.grad = None
        (y * cotangent).sum().backward()
        results.append((y.detach(), x.grad, {n: p.grad for n, p in layer.named_parameters()}))
    (y, dx, grads), (expected_y, expected_dx, expected_grads) = results
    torch.testing.assert_close(y, expected_y, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(dx, expected_dx, rtol=1e-7, atol=1e-9)
    for parameter, grad in grads.items():
        scale = expected_grads[parameter].abs().max().item()
        torch.testing.assert_close(grad, expected_grads[parameter], rtol=1e-6, atol=1e-8 * scale, msg=parameter)


def test_the_physical_limit_counts_every_allowed_pair():
    """Against a count over an explicit window mask, with all tokens active."""
    case = replace(CASES["listops"], length=300, batch=3, rate=1.0)
    c, L = case.config, case.length
    distance = torch.arange(L) - torch.arange(L).unsqueeze(1)
    pairs = int((distance.abs() <= c.memory_size).sum())
    per_token = c.d_model * (c.d_model + 2) + c.d_model * (c.d_attention + 3 * c.d_hidden)
    exact = 6 * case.batch * (L * per_token + pairs * (c.d_attention + c.d_hidden))
    assert matmul_flops(case) == pytest.approx(exact, rel=0.01)
