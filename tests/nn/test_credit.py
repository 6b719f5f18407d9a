"""`confidence_on: output_and_value`: each value is weighed by its token's confidence, in every path."""

import pytest
import torch

from seqboat_lab.nn import SeqBoatLayer
from tests.nn.oracle import dense_layer

CREDIT = "output_and_value"
each_function = pytest.mark.parametrize("attention", ["softmax", "relu2", "laplace"])


def unweighed(layer: SeqBoatLayer) -> SeqBoatLayer:
    layer.attention.weigh_values = False
    return layer


@each_function
@pytest.mark.parametrize("bidirectional", [False, True])
def test_tiles_equal_the_dense_loops_with_weighed_values(make_layer, attention, bidirectional):
    layer = make_layer(attention=attention, bidirectional=bidirectional, confidence_on=CREDIT)
    x = torch.randn(2, 40, 12, dtype=torch.double)
    y, active = dense_layer(layer, x)
    out = layer(x)
    assert torch.equal(out.active, active)
    torch.testing.assert_close(out.y, y, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(unweighed(layer)(x).y, y, rtol=1e-4)


@torch.no_grad()
@each_function
@pytest.mark.parametrize("position", ["bias", "local", "rotary"])
def test_steps_and_segments_equal_forward(make_layer, attention, position):
    layer = make_layer(attention=attention, position=position, bidirectional=False, confidence_on=CREDIT)
    x = torch.randn(2, 60, 12, dtype=torch.double)
    whole = layer(x).y
    state, steps = layer.init_state(2), []
    for t in range(60):
        y, _, state = layer.step(x[:, t], state)
        steps.append(y)
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=1e-8, atol=1e-9)
    state, parts = layer.init_state(2), []
    for piece in x.split((11, 1, 48), dim=1):
        out = layer(piece, state=state)
        state = out.state
        parts.append(out.y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-8, atol=1e-9)


@torch.no_grad()
def test_both_backends_agree(make_layer):
    x = torch.randn(2, 60, 12, dtype=torch.double)
    ys = [make_layer(attention_backend=way, confidence_on=CREDIT)(x).y for way in ("matmul", "sdpa")]
    torch.testing.assert_close(*ys, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_gradient_is_that_of_finite_differences(make_layer, bidirectional):
    layer = make_layer(bidirectional=bidirectional, confidence_on=CREDIT, memory_size=3)
    x = torch.randn(1, 9, 12, dtype=torch.double, requires_grad=True)
    router = layer.hx_proj.weight.detach().clone().requires_grad_()

    def run(x, weight):
        return torch.func.functional_call(layer, {"hx_proj.weight": weight}, (x,)).y

    assert torch.autograd.gradcheck(run, (x, router), eps=1e-7, atol=1e-5)


def test_only_with_credit_a_token_hears_from_those_that_read_it(make_layer):
    """The gradient of a later token's output, through the confidence of an earlier one alone."""
    for confidence_on, expected in (("output", False), (CREDIT, True)):
        layer = make_layer(bidirectional=False, confidence_on=confidence_on)
        x = torch.randn(1, 12, 12, dtype=torch.double)
        out = layer(x)
        first, last = out.active[0].nonzero().squeeze(1)[[0, 4]].tolist()  # within each other's memory of 5
        probe = torch.zeros(1, 12, dtype=torch.double, requires_grad=True)
        decide = layer.configurator.forward

        def perturbed(u, position, decide=decide, probe=probe):
            decision = decide(u, position)
            return decision._replace(confidence=decision.confidence + probe)

        layer.configurator.forward = perturbed
        (gradient,) = torch.autograd.grad(layer(x).y[0, last].sum(), probe)
        assert gradient[0, last] != 0
        assert bool(gradient[0, first] != 0) == expected
