"""What every kind of layer promises, whatever it mixes with."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from seqboat_lab.config.checks import UserError
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.nn import LanguageModel
from tests.nn.largest import Largest
from tests.nn.mixers.conftest import SMALL, make_config
from tests.nn.mixers.oracle import LOOPS, attention, channel_mix

STATELESS = [kind for kind in MIXER_CONFIGS if MIXER_CONFIGS[kind].state == "none"]
each_kind = pytest.mark.parametrize("kind", MIXER_CONFIGS)
each_with_state = pytest.mark.parametrize("kind", [kind for kind in MIXER_CONFIGS if kind not in STATELESS])
double = {"dtype": torch.double}


@torch.no_grad()
@pytest.mark.parametrize("kind", LOOPS)
def test_a_mixer_equals_the_papers_loop(kind, make):
    mixer = make(kind).mixer
    x = torch.randn(2, 101, 12, **double)
    y, _ = mixer(x)
    for row, expected in zip(y, x, strict=True):
        torch.testing.assert_close(row, LOOPS[kind](mixer, expected), rtol=1e-10, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 5, 17, 70])
def test_attention_both_ways_equals_its_loop(window, make):
    kind, settings = ("transformer", {}) if window is None else ("local_attention", {"window": window})
    mixer = make(kind, bidirectional=True, settings=settings).mixer
    x = torch.randn(1, 90, 12, **double)
    torch.testing.assert_close(mixer(x)[0][0], attention(mixer, x[0], window, both=True), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_channel_mixing_equals_its_loop(make):
    mixer = make("rwkv").feed_forward
    x = torch.randn(1, 30, 12, **double)
    torch.testing.assert_close(mixer(x)[0][0], channel_mix(mixer, x[0]), rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("kind", [kind for kind in (*SMALL, "ssm") if kind not in STATELESS])  # others: test_layer.py
def test_steps_equal_the_parallel_form_over_a_thousand_tokens(kind, make):
    layer = make(kind).float()
    x = torch.randn(2, 1000, 12)
    state, steps = layer.init_state(2), []
    for token in x.unbind(1):
        y, _, state = layer.step(token, state)
        steps.append(y)
    torch.testing.assert_close(torch.stack(steps, 1), layer(x).y, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@each_with_state
def test_steps_equal_the_parallel_form_exactly(kind, make):
    layer = make(kind)
    x = torch.randn(3, 100, 12, **double)
    state, whole = layer.init_state(3), layer(x).y
    for t, token in enumerate(x.unbind(1)):
        y, _, state = layer.step(token, state)
        torch.testing.assert_close(y, whole[:, t], rtol=1e-10, atol=1e-10)


@torch.no_grad()
@each_with_state
def test_segments_with_carried_state_equal_one_long_forward(kind, make):
    layer = make(kind)
    x = torch.randn(2, 90, 12, **double)
    whole = layer(x).y
    for cut in (1, 2, 5, 6, 33, 64, 89):
        first = layer(x[:, :cut], state=layer.init_state(2))
        second = layer(x[:, cut:], state=first.state)
        torch.testing.assert_close(torch.cat([first.y, second.y], 1), whole, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@each_kind
def test_causal_outputs_do_not_depend_on_the_future(kind, make):
    layer = make(kind)
    x = torch.randn(2, 140, 12, **double)
    for cut in (1, 7, 63, 64, 100):
        changed = torch.cat([x[:, :cut], torch.randn(2, 140 - cut, 12, **double)], dim=1)
        torch.testing.assert_close(layer(x).y[:, :cut], layer(changed).y[:, :cut], rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("training", [False, True])
@each_kind
def test_a_rows_output_depends_neither_on_its_batch_nor_on_its_padding(kind, training, bidirectional, make):
    layer = make(kind, bidirectional=bidirectional).train(training)
    lengths = [1, 9, 40, 71]
    rows = [torch.randn(n, 12, **double) for n in lengths]
    batch = torch.randn(4, 80, 12, **double) * 50  # what stands in the padding must not matter either
    padding = torch.arange(80) >= torch.tensor(lengths).unsqueeze(1)
    for b, row in enumerate(rows):
        batch[b, : len(row)] = row
    together = layer(batch, padding).y
    for b, row in enumerate(rows):
        torch.testing.assert_close(together[b, : len(row)], layer(row.unsqueeze(0)).y[0], rtol=1e-9, atol=1e-9)


@torch.no_grad()
@each_kind
def test_bidirectional_layers_read_both_ways(kind, make):
    layer = make(kind, bidirectional=True)
    x, other = torch.randn(2, 1, 30, 12, **double)
    for changed, kept in ((slice(0, 15), slice(15, 30)), (slice(15, 30), slice(0, 15))):
        mixed = x.clone()
        mixed[:, changed] = other[:, changed]
        assert (layer(x).y - layer(mixed).y)[0, kept].abs().max() > 1e-6
    with pytest.raises(ValueError, match="set bidirectional: false"):
        layer.init_state(1)


@each_kind
def test_gradients_are_right(kind, make):
    layer = make(kind)
    x = torch.randn(1, 11, 12, requires_grad=True, **double)
    named = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}

    def output(x, *values):
        return functional_call(layer, dict(zip(named, values, strict=True)), (x,)).y

    assert torch.autograd.gradcheck(output, (x, *named.values()), fast_mode=True)


@each_kind
def test_every_parameter_takes_part_in_every_training_step(kind, make):
    layer = make(kind).train()
    layer(torch.randn(2, 9, 12, requires_grad=True, **double)).y.sum().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@torch.no_grad()
@each_kind
def test_bfloat16_autocast_stays_close_to_float32(kind, make):
    layer = make(kind).float()
    x = torch.randn(2, 120, 12)
    exact = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layer(x)
    same = torch.ones(2, 120, dtype=torch.bool)
    if hasattr(exact, "active"):  # decisions may turn where they nearly tie
        same = (exact.active == half.active).all(1, keepdim=True).expand(2, 120)
    assert half.y.isfinite().all()
    assert (half.y.float() - exact.y)[same].norm() <= 0.03 * exact.y[same].norm()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", SMALL)
def test_nothing_of_size_length_squared_is_made(kind, bidirectional, make):
    layer, largest = make(kind, bidirectional=bidirectional).float().train(), {}
    for length in (512, 1024):
        x = torch.randn(2, length, 12, requires_grad=True)
        padding = torch.arange(length).expand(2, -1) >= torch.tensor([[length], [length // 2]])
        with Largest() as seen:
            layer(x, padding).y.sum().backward()
        largest[length] = seen.elements
    assert largest[1024] <= 2.2 * largest[512]


@pytest.mark.parametrize("kind", STATELESS)
def test_a_mixer_without_state_says_so_in_one_line(kind):
    with pytest.raises(UserError, match=f"^model.kind {kind} has no recurrent state.*choose another mixer$"):
        LanguageModel(make_config(kind), 5).init_state(1)


@each_kind
def test_it_learns_from_its_published_initialisation(kind):
    """To repeat what it read two tokens ago."""
    torch.manual_seed(0)
    settings = {"mod": {"capacity": 0.5}, "mamba": {"head_size": 8}}.get(kind, {})
    config = make_config(kind, d_model=32, d_hidden=32, memory_size=16, settings=settings)
    model = LanguageModel(config, 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(50):
        tokens = torch.randint(6, (12, 16))
        loss = F.cross_entropy(model(tokens).logits[:, 2:].flatten(0, 1), tokens[:, :-2].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]


@torch.no_grad()
@each_kind
def test_a_model_in_bfloat16_stays_close_to_float32_and_steps_in_it(kind, make):
    layer = make(kind).float()
    x = torch.randn(2, 50, 12)
    exact, half = layer(x).y, layer.bfloat16()(x.bfloat16()).y
    assert half.dtype == torch.bfloat16
    if kind not in ("seqboat", "mod"):  # whose decisions may turn
        assert (half.float() - exact).norm() < 0.05 * exact.norm()
    if kind not in STATELESS:
        y, _, state = layer.step(x[:, 0].bfloat16(), layer.init_state(2))
        assert layer(x[:, 1:].bfloat16(), state=state).y.dtype == y.dtype == torch.bfloat16
