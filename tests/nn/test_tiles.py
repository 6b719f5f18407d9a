"""Attention in tiles through torch's fused kernel, and the rule that picks a way."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from seqboat_lab.config import ConfigError, ModelConfig
from seqboat_lab.nn import tiles
from tests.nn.oracle import dense_layer


@pytest.mark.parametrize(
    ("position", "bidirectional"), list(itertools.product(("bias", "local", "rotary"), (True, False)))
)
def test_the_fused_kernel_equals_the_dense_loops(make_layer, position, bidirectional):
    layer = make_layer(attention_backend="sdpa", position=position, bidirectional=bidirectional)
    x = torch.randn(2, 45, 12, dtype=torch.double, requires_grad=True)
    cotangent = torch.randn(2, 45, 12, dtype=torch.double)
    out, (y, active) = layer(x), dense_layer(layer, x)
    assert 0.2 < active.double().mean() < 0.8
    torch.testing.assert_close(out.y, y, rtol=1e-9, atol=1e-9)
    ours = torch.autograd.grad((out.y * cotangent).sum(), [x, *layer.parameters()])
    theirs = torch.autograd.grad((y * cotangent).sum(), [x, *layer.parameters()], allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, rtol=1e-7, atol=1e-9)


def test_the_fused_kernel_takes_a_batch_without_active_tokens(make_layer):
    layer = make_layer(attention_backend="sdpa")
    with torch.no_grad():
        layer.hx_proj.bias[1] = -1e3
    x = torch.randn(2, 9, 12, dtype=torch.double)
    out, active, *_ = layer(x)
    assert not active.any()
    torch.testing.assert_close(out, dense_layer(layer, x)[0], rtol=1e-9, atol=1e-9)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("attention", ["relu2", "laplace"])
def test_the_fused_kernel_is_refused_where_it_would_be_another_function(attention):
    with pytest.raises(ConfigError, match=f"attention_backend: .*sdpa.* is a softmax and attention is {attention}"):
        ModelConfig(attention=attention, attention_backend="sdpa")


@pytest.mark.parametrize(("attention", "on_cuda"), [("softmax", "sdpa"), ("relu2", "matmul"), ("laplace", "matmul")])
def test_auto_is_a_rule_of_device_and_function(attention, on_cuda, monkeypatch):
    taken = []
    monkeypatch.setattr(tiles, "by_sdpa", lambda *_: taken.append("sdpa"))
    monkeypatch.setattr(tiles, "by_matmul", lambda *_: taken.append("matmul"))
    for is_cuda in (False, True):
        query = SimpleNamespace(is_cuda=is_cuda)
        tiles.TileAttention(attention, "auto")(query, query, query, query, 1.0)
    assert taken == ["matmul", on_cuda]
