"""What holds on the CPU holds on a CUDA device: `make test-gpu`."""

import itertools

import pytest
import torch

from seqboat_lab.nn import layer as layer_module
from seqboat_lab.nn import packing

DEVICE = "cuda"
pytestmark = pytest.mark.gpu

KINDS = list(itertools.product(("softmax", "relu2", "laplace"), ("bias", "local", "rotary"), (True, False)))


@pytest.mark.parametrize(("attention", "position", "bidirectional"), KINDS)
def test_outputs_and_gradients_are_those_of_the_cpu(make_layer, attention, position, bidirectional):
    fields = {"attention": attention, "position": position, "bidirectional": bidirectional}
    layer, other = make_layer(**fields), make_layer(**fields).to(DEVICE)
    x = torch.randn(3, 70, 12, dtype=torch.double)
    padding = torch.arange(70) >= torch.tensor([[70], [40], [1]])
    padding = padding if bidirectional else None
    out = layer(x, padding)
    cuda = other(x.to(DEVICE), None if padding is None else padding.to(DEVICE))
    assert torch.equal(cuda.active.cpu(), out.active)
    torch.testing.assert_close(cuda.y.cpu(), out.y, rtol=1e-8, atol=1e-8)
    out.y.square().sum().backward()
    cuda.y.square().sum().backward()
    for a, b in zip(layer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(b.grad.cpu(), a.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("backend", ["matmul", "sdpa"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_bfloat16_stays_close_to_float32(make_layer, backend, bidirectional):
    layer = make_layer(attention_backend=backend, bidirectional=bidirectional).float().to(DEVICE)
    x = torch.randn(2, 200, 12, device=DEVICE)
    exact = layer(x)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        half = layer(x)
    half.y.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    assert (half.active != exact.active).float().mean() < 0.02
    assert (half.y.float() - exact.y).norm() / exact.y.norm() < 0.02


@pytest.mark.parametrize("attention", ["softmax", "relu2"])
def test_the_layer_waits_for_the_device_only_to_count_active_tokens(make_layer, monkeypatch, attention):
    layer = make_layer(attention=attention).float().to(DEVICE)
    x = torch.randn(2, 100, 12, device=DEVICE, requires_grad=True)
    layer(x).y.sum().backward()  # libraries start up
    waits = []

    def pack(*args, **options):
        torch.cuda.set_sync_debug_mode("default")
        waits.append(packing.pack(*args, **options))
        torch.cuda.set_sync_debug_mode("error")
        return waits[-1]

    monkeypatch.setattr(layer_module, "pack", pack)
    torch.cuda.set_sync_debug_mode("error")
    try:
        layer(x).y.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(waits) == 1


def test_step_equals_forward(make_layer):
    layer = make_layer(bidirectional=False, position="rotary").to(DEVICE)
    x = torch.randn(2, 120, 12, dtype=torch.double, device=DEVICE)
    state, y = layer.init_state(2), []
    with torch.no_grad():
        for t in range(x.shape[1]):
            out, _, state = layer.step(x[:, t], state)
            y.append(out)
        torch.testing.assert_close(torch.stack(y, 1), layer(x).y, rtol=1e-8, atol=1e-8)
