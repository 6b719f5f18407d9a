"""Attention in tiles: its three ways against dense loops, and the rule that picks one."""

import itertools

import pytest
import torch

from seqboat_lab.analysis.cost import peak_of_tensors
from seqboat_lab.config import ConfigError, ModelConfig
from seqboat_lab.config.configurator import AlwaysConfig
from seqboat_lab.nn import chunks, tiles
from seqboat_lab.nn.positions import OriginalDistanceBias
from seqboat_lab.nn.tiling import Tiling
from tests.nn.oracle import dense_layer


@pytest.mark.parametrize(
    ("backend", "attention", "position", "bidirectional"),
    [
        (backend, attention, *rest)
        for backend, attention in itertools.product(
            ("sdpa", "matmul", "chunks", "chunks in C"), ("softmax", "relu2", "laplace")
        )
        for rest in itertools.product(("bias", "local", "rotary"), (True, False))
        if backend != "sdpa" or attention == "softmax"
    ],
)
def test_every_way_equals_the_dense_loops(make_layer, monkeypatch, backend, attention, position, bidirectional):
    monkeypatch.setattr(chunks, "CHUNK", 2 * 16 * 24)  # two tiles at a time
    backend, *in_c = backend.split(" in ")
    monkeypatch.setenv("SEQBOAT_NATIVE", "1" if in_c else "0")
    layer = make_layer(attention_backend=backend, attention=attention, position=position, bidirectional=bidirectional)
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
def test_auto_is_a_rule_of_device_and_function(attention, on_cuda):
    chosen = tiles.TileAttention(attention, "auto")
    assert (chosen.way("cpu"), chosen.way("cuda"), chosen.way("mps")) == ("chunks", on_cuda, "matmul")
    assert tiles.TileAttention(attention, "matmul").way("cpu") == "matmul"


def test_chunks_keep_no_scores_without_gradients(make_layer, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 2**14)
    x = torch.randn(1, 3000, 12, dtype=torch.double)
    peak, found = {}, {}
    for backend in ("matmul", "chunks"):
        layer = make_layer(attention_backend=backend, memory_size=100, configurator=AlwaysConfig())
        with torch.no_grad():
            peak[backend] = peak_of_tensors(lambda layer=layer, backend=backend: found.update({backend: layer(x).y}))
    torch.testing.assert_close(found["chunks"], found["matmul"], rtol=1e-12, atol=1e-12)
    scores = 3000 * (50 + 200) * 8  # bytes
    assert peak["chunks"] < scores < peak["matmul"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_under_autocast_round_as_whole_tiles_do(make_layer, dtype):
    """Equal operations in equal precision; only gradients are added up in another order."""
    x = torch.randn(2, 300, 12)
    found = []
    for backend in ("matmul", "chunks"):
        layer = make_layer(attention_backend=backend).float()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = layer(x)
        out.y.square().sum().backward()
        found.append((out.y, [p.grad for p in layer.parameters() if p.grad is not None]))
    (y, grads), (chunked_y, chunked_grads) = found
    tolerance = {"rtol": 2e-3, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 5e-2, "atol": 5e-2}
    torch.testing.assert_close(chunked_y, y, **tolerance)
    for a, b in zip(chunked_grads, grads, strict=True):
        assert (a - b).norm() <= tolerance["rtol"] * b.norm() + 1e-6


@pytest.mark.parametrize(
    ("of_v", "of_bias"), [(torch.float, torch.double), (torch.double, torch.float), (torch.half, torch.float)]
)
def test_chunks_of_several_types_are_left_to_torch(of_v, of_bias):
    """C would read and write past the end of the narrower ones."""
    torch.manual_seed(0)
    tiling = Tiling(torch.zeros(30, dtype=torch.long), torch.arange(30), 8, bidirectional=False)
    bias = OriginalDistanceBias(32, 8).to(of_bias)
    q, k = torch.randn(2, 30, 4, dtype=torch.double).requires_grad_()
    v = torch.randn(30, 4, dtype=of_v, requires_grad=True)
    ways = (tiles.TileAttention("softmax", way)(q, k, v, tiling, bias, 0.5) for way in ("chunks", "matmul"))
    ours, theirs = (torch.autograd.grad(o.sum(), (q, k, v, bias.table)) for o in ways)
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)
