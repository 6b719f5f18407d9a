"""The layer against its dense oracle, and what must not change a row's output."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nn.largest import Largest
from tests.nn.oracle import dense_layer

ATTENTION = ("softmax", "relu2", "laplace")
POSITION = ("bias", "local", "rotary")


@pytest.mark.parametrize(("attention", "position"), list(itertools.product(ATTENTION, POSITION)))
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layer_equals_the_dense_loops(make_layer, attention, position, bidirectional):
    norm = {"softmax": "layernorm", "relu2": "scalenorm", "laplace": "rmsnorm"}[attention]
    layer = make_layer(
        attention=attention, position=position, bidirectional=bidirectional, norm=norm, prenorm=position == "rotary"
    )
    x = torch.randn(2, 45, 12, dtype=torch.double)
    padding = torch.zeros(2, 45, dtype=torch.bool)
    padding[1, 30:] = True
    out = layer(x, padding)
    y, active = dense_layer(layer, x, padding)
    assert 0.2 < active.double().mean() < 0.8
    assert torch.equal(out.active, active)
    torch.testing.assert_close(out.y[~padding], y[~padding], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attention", ATTENTION)
def test_gradients_are_those_of_the_dense_loops(make_layer, attention):
    layer = make_layer(attention=attention)
    x = torch.randn(2, 20, 12, dtype=torch.double, requires_grad=True)
    cotangent = torch.randn(2, 20, 12, dtype=torch.double)
    names = [name for name, _ in layer.named_parameters()]
    ours = torch.autograd.grad((layer(x).y * cotangent).sum(), [x, *layer.parameters()])
    theirs = torch.autograd.grad((dense_layer(layer, x)[0] * cotangent).sum(), [x, *layer.parameters()])
    for name, a, b in zip(["x", *names], ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_rows_output_depends_neither_on_its_batch_nor_on_its_padding(make_layer, data):
    layer = make_layer(
        attention=data.draw(st.sampled_from(ATTENTION)),
        position=data.draw(st.sampled_from(POSITION)),
        bidirectional=data.draw(st.booleans()),
        memory_size=data.draw(st.integers(1, 12)),
    )
    lengths = data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=5))
    spare = data.draw(st.integers(0, 20))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    rows = [torch.randn(n, 12, dtype=torch.double, generator=generator) for n in lengths]
    width = max(lengths) + spare
    # what stands in the padding must not matter either
    batch = torch.randn(len(rows), width, 12, dtype=torch.double, generator=generator) * 50
    padding = torch.arange(width) >= torch.tensor(lengths).unsqueeze(1)
    for b, row in enumerate(rows):
        batch[b, : len(row)] = row
    together = layer(batch, padding)
    for b, row in enumerate(rows):
        alone = layer(row.unsqueeze(0))
        assert torch.equal(together.active[b, : len(row)], alone.active[0])
        torch.testing.assert_close(together.y[b, : len(row)], alone.y[0], rtol=1e-9, atol=1e-9)
    assert not together.active[padding].any()


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_causal_outputs_do_not_depend_on_the_future(make_layer, data):
    layer = make_layer(
        bidirectional=False,
        attention=data.draw(st.sampled_from(ATTENTION)),
        position=data.draw(st.sampled_from(POSITION)),
        memory_size=data.draw(st.integers(1, 9)),
    )
    x = torch.randn(2, 80, 12, dtype=torch.double)
    cut = data.draw(st.integers(1, 79))
    changed = torch.cat([x[:, :cut], torch.randn(2, 80 - cut, 12, dtype=torch.double)], dim=1)
    torch.testing.assert_close(layer(x).y[:, :cut], layer(changed).y[:, :cut], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("attention", "position"), list(itertools.product(ATTENTION, POSITION)))
def test_step_equals_forward_over_a_thousand_tokens(make_layer, attention, position):
    norm = {"bias": "layernorm", "local": "scalenorm", "rotary": "rmsnorm"}[position]
    layer = make_layer(
        bidirectional=False,
        attention=attention,
        position=position,
        norm=norm,
        prenorm=attention != "relu2",
        memory_size=20,
    ).float()
    x = torch.randn(2, 1000, 12)
    out = layer(x)
    assert out.active.sum(1).min() > 20
    state, ys, actives = layer.init_state(2), [], []
    with torch.no_grad():
        for t in range(1000):
            y, decision, state = layer.step(x[:, t], state)
            ys.append(y)
            actives.append(decision.active)
    # a decision on the edge may flip by rounding: none of these does
    assert torch.equal(torch.stack(actives, 1), out.active)
    torch.testing.assert_close(torch.stack(ys, 1), out.y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("position", POSITION)
def test_segments_with_carried_state_equal_one_long_forward_for_every_split(make_layer, position):
    layer = make_layer(bidirectional=False, position=position, memory_size=7)
    x = torch.randn(2, 150, 12, dtype=torch.double)
    whole = layer(x).y
    for cut in range(1, 150):
        first = layer(x[:, :cut], state=layer.init_state(2))
        second = layer(x[:, cut:], state=first.state)
        torch.testing.assert_close(torch.cat([first.y, second.y], 1), whole, rtol=1e-8, atol=1e-9)


@torch.no_grad()
def test_two_segments_may_go_on_from_one_state(make_layer):
    layer = make_layer(bidirectional=False, memory_size=7)
    x = torch.randn(2, 60, 12, dtype=torch.double)
    state = layer(x[:, :40], state=layer.init_state(2)).state
    once, other = (layer(tokens, state=state).y for tokens in (x[:, 40:], -x[:, 40:]))
    assert torch.equal(layer(x[:, 40:], state=state).y, once)
    assert not torch.equal(other, once)


def test_steps_go_on_where_a_segment_ended(make_layer):
    layer = make_layer(bidirectional=False, memory_size=7)
    x = torch.randn(2, 90, 12, dtype=torch.double)
    whole = layer(x).y
    state = layer(x[:, :70], state=layer.init_state(2)).state
    for t in range(70, 90):
        y, _, state = layer.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("position", POSITION)
@pytest.mark.parametrize("logit", [-1.0, 1.0], ids=["none active", "all active"])
def test_every_parameter_gets_a_gradient_whatever_is_active(make_layer, position, logit):
    layer = make_layer(position=position)
    with torch.no_grad():
        layer.hx_proj.weight[:2] = 0
        layer.hx_proj.bias[:2] = torch.tensor([0.0, logit])
    out = layer(torch.randn(2, 9, 12, dtype=torch.double))
    out.y.sum().backward()
    assert out.active.all() == (logit > 0)
    assert out.active.any() == (logit > 0)
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("bidirectional", [False, True])
def test_rows_with_0_1_w_w_plus_1_and_all_tokens_active(make_layer, force_decisions, bidirectional):
    """Tight packing meets rows of every size side by side. (The authors' code measures distances differently
    for a whole batch once one row is fully active; here no row may notice.)"""
    w, length = 5, 24
    layer = make_layer(memory_size=w, bidirectional=bidirectional)
    counts = [0, 1, w, w + 1, length]
    active = torch.zeros(len(counts), length, dtype=torch.bool)
    for b, count in enumerate(counts):
        active[b, torch.randperm(length)[:count]] = True
    x = torch.randn(len(counts), length, 12, dtype=torch.double)
    force_decisions(layer, active)
    together = layer(x).y
    for b in range(len(counts)):
        force_decisions(layer, active[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], layer(x[b : b + 1]).y, rtol=1e-9, atol=1e-9)


def test_a_bidirectional_layer_refuses_to_be_stepped(make_layer):
    with pytest.raises(ValueError, match="bidirectional: false"):
        make_layer().init_state(1)


def test_nothing_of_size_length_squared_is_made(make_layer):
    """Counts elements of every tensor that autograd or the forward pass allocates."""
    layer = make_layer(memory_size=16).float()
    largest = {}
    for length in (1024, 2048, 4096):
        x = torch.randn(1, length, 12, requires_grad=True)
        with Largest() as seen:
            layer(x).y.sum().backward()
        largest[length] = seen.elements
    assert largest[4096] < 4096 * 200
    assert largest[4096] <= 2.2 * largest[2048]
    assert largest[2048] <= 2.2 * largest[1024]


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_bfloat16_autocast_stays_close_to_float32(make_layer, attention, bidirectional):
    """Close where the decision is the same; it may turn only where the two logits nearly tie."""
    layer = make_layer(attention=attention, bidirectional=bidirectional).float()
    x = torch.randn(2, 200, 12)
    exact = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layer(x)
    assert half.y.isfinite().all()
    turned = half.active != exact.active
    assert turned.float().mean() < 0.02
    torch.testing.assert_close(half.confidence[~turned], exact.confidence[~turned], rtol=0, atol=0.02)
    error = (half.y.float() - exact.y).norm() / exact.y.norm()
    assert error < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("position", ["bias", "local", "rotary"])
def test_the_compiled_layer_equals_the_eager_one(make_layer, position):
    layer = make_layer(position=position, bidirectional=position != "rotary").float()
    compiled = torch.compile(layer)
    for length in (64, 50):  # the second length recompiles or runs with dynamic shapes
        x = torch.randn(2, length, 12, requires_grad=True)
        grads = []
        for run in (layer, compiled):
            layer.zero_grad()
            out = run(x)
            out.y.square().sum().backward()
            grads.append((out.y.detach(), out.active, [p.grad.clone() for p in layer.parameters()]))
        (y, active, eager), (compiled_y, compiled_active, other) = grads
        assert torch.equal(active, compiled_active)
        torch.testing.assert_close(compiled_y, y, rtol=1e-4, atol=1e-5)
        for a, b in zip(eager, other, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4)
