"""Attention in tiles through torch's fused kernel, and the rule that picks a way."""

import itertools
import math

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


def test_the_faster_way_is_measured_once_for_each_kind_of_tile(monkeypatch):
    monkeypatch.setattr(tiles, "_FASTER", {})
    calls = []

    def way(name, work):
        def run(x):
            calls.append(name)
            for _ in range(work):
                torch.linalg.matrix_exp(x)
            return 2 * x

        return run

    ways = {"slow": way("slow", 20), "quick": way("quick", 1)}
    assert tiles.faster(ways, (torch.randn(3, 40, 40),)) == "quick"
    measured = len(calls)
    assert measured == calls.count("slow") + calls.count("quick") > 2
    assert tiles.faster(ways, (torch.randn(7, 40, 40),)) == "quick"  # more tiles of the same kind
    assert len(calls) == measured
    for other in (torch.randn(3, 30, 30), torch.randn(3, 40, 40, requires_grad=True), torch.randn(3, 40, 40).double()):
        assert tiles.faster(ways, (other,)) == "quick"
        assert len(calls) > measured
        measured = len(calls)


def test_a_way_the_device_cannot_go_is_never_picked(monkeypatch):
    monkeypatch.setattr(tiles, "_FASTER", {})

    def impossible(x):
        raise RuntimeError("no kernel for this device")

    assert tiles.seconds(impossible, (torch.ones(1, 2),)) == math.inf
    assert tiles.faster({"impossible": impossible, "plain": torch.neg}, (torch.ones(1, 2),)) == "plain"


def test_measuring_leaves_the_graph_alone():
    x = torch.randn(4, 5, requires_grad=True)
    y = x * 2
    assert 0 < tiles.seconds(lambda t: t.square(), (y,)) < 1
    assert x.grad is None
    y.sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))
