"""Configurators: what they decide, that step and forward agree, and that every parameter gets a gradient."""

import copy
import math

import pytest
import torch

from seqboat_lab.config.configurator import (
    CONFIGURATOR_CONFIGS,
    EveryKthConfig,
    GumbelSoftmaxConfig,
    RandomConfig,
    SigmoidConfig,
    TemperedSoftmaxConfig,
)
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn import Classifier, LanguageModel
from seqboat_lab.nn.configurator import GumbelSoftmax, Random, Sigmoid, TemperedSoftmax, make_configurator

each_kind = pytest.mark.parametrize("kind", CONFIGURATOR_CONFIGS)


def small(**fields) -> ModelConfig:
    defaults = {"layers": 2, "d_model": 8, "d_hidden": 8, "d_attention": 4, "memory_size": 3, "dropout": 0.0}
    return ModelConfig(**(defaults | fields))


def test_every_configurator_of_the_config_is_there():
    for name, settings in CONFIGURATOR_CONFIGS.items():
        assert settings().kind == name
        assert issubclass(CONFIGURATOR_CONFIGS.implementation(name), torch.nn.Module)


def test_tempered_softmax_takes_argmax_and_softmax_over_the_temperature():
    configurator = TemperedSoftmax(TemperedSoftmaxConfig(temperature_scale=0.5), d_model=16)  # tau = 2
    u = torch.tensor([[0.0, 1.0], [1.0, 0.0], [3.0, 3.0], [-4.0, 2.0]])
    decision = configurator(u, 0)
    assert decision.active.tolist() == [True, False, False, True]  # a tie is inactive
    expected = torch.softmax(u / 2, dim=-1)[:, 1]
    torch.testing.assert_close(decision.confidence, expected)


@pytest.mark.parametrize("learn", [True, False])
def test_a_fixed_temperature_gets_no_gradient(learn):
    configurator = TemperedSoftmax(TemperedSoftmaxConfig(learn_temperature=learn), d_model=4)
    u = torch.randn(5, 2, requires_grad=True)
    configurator(u, 0).confidence.sum().backward()
    assert u.grad.abs().sum() > 0
    assert (configurator.log_temperature.grad is not None) == learn


def test_sigmoid_is_active_above_one_half():
    u = torch.tensor([[-1.0], [0.0], [2.0]])
    decision = Sigmoid(SigmoidConfig(), d_model=16)(u, 0)
    assert decision.active.tolist() == [False, False, True]
    torch.testing.assert_close(decision.confidence, 1 / (1 + torch.exp(-u[:, 0])))


def gumbel(**fields) -> GumbelSoftmax:
    return GumbelSoftmax(GumbelSoftmaxConfig(**fields), d_model=16)


def test_gumbel_samples_the_softmax_of_the_logits():
    u = torch.tensor([0.0, 1.0]).expand(200_000, 2)
    torch.manual_seed(0)
    rate = gumbel()(u, 0).active.float().mean()
    assert abs(float(rate) - 1 / (1 + math.exp(-1))) < 0.005


def test_gumbel_passes_the_gradient_of_the_tempered_sample_straight_through():
    configurator = gumbel(initial_temperature=2.0)
    u = torch.tensor([[0.3, 0.8], [1.0, -1.0], [0.0, 0.1]], dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    decision = configurator(u, 0)
    torch.testing.assert_close(decision.confidence.detach(), torch.ones(3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(decision.confidence.sum(), u)
    torch.manual_seed(3)
    uniform = torch.rand(3, dtype=torch.float64)
    p = torch.sigmoid((u[:, 1] - u[:, 0] + uniform.log() - (1 - uniform).log()) / 2.0).detach()
    assert decision.active.tolist() == (p > 0.5).tolist()
    torch.testing.assert_close(gradient[:, 1], p * (1 - p) / 2.0)
    torch.testing.assert_close(gradient[:, 0], -p * (1 - p) / 2.0)


def test_gumbel_takes_argmax_in_evaluation_and_draws_nothing():
    configurator, u = gumbel().eval(), torch.randn(50, 2)
    before = torch.get_rng_state()
    first = configurator(u, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.active, u[:, 1] > u[:, 0])
    assert configurator.batches == 0


def test_gumbel_anneals_exponentially_over_training_batches_and_then_stays():
    configurator, u = gumbel(initial_temperature=4.0, final_temperature=1.0, anneal_steps=4), torch.randn(5, 2)
    seen = []
    for _ in range(6):
        seen.append(float(configurator.temperature()))
        configurator(u, 0)
    assert seen == pytest.approx([4 * 0.25 ** (i / 4) for i in range(5)] + [1.0])


def test_gumbel_goes_on_from_a_checkpoint_with_the_same_decisions():
    one, u = gumbel(anneal_steps=5), torch.randn(500, 2)
    for _ in range(3):
        one(u, 0)
    other = gumbel(anneal_steps=5)
    other.load_state_dict(one.state_dict())
    decisions = []
    for configurator in (one, other):
        torch.manual_seed(11)  # as BatchClock does for every batch
        decisions.append(configurator(u, 0))
    assert torch.equal(decisions[0].active, decisions[1].active)
    torch.testing.assert_close(one.temperature(), other.temperature(), rtol=0, atol=0)


def by_position(config, length: int, layer: int = 0) -> torch.Tensor:
    configurator = make_configurator(config, 16, layer)
    decision = configurator(torch.zeros(1, length, 0), torch.arange(length))
    torch.testing.assert_close(decision.confidence, torch.ones(1, length))
    return decision.active[0]


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.5, 0.9, 1.0])
def test_random_activates_the_given_share_of_positions(rate):
    active = by_position(RandomConfig(rate=rate), 100_000).float()
    assert abs(float(active.mean()) - rate) <= 4 * math.sqrt(rate * (1 - rate) / 100_000)


def test_random_positions_are_unrelated_between_neighbours_seeds_and_layers():
    n = 100_000
    base = by_position(RandomConfig(rate=0.5), n)
    others = [by_position(RandomConfig(rate=0.5, seed=1), n), by_position(RandomConfig(rate=0.5), n, layer=1)]
    others += [base.roll(shift) for shift in (1, 2, 64, 1024, 65_536)]
    for other in others:
        assert abs(float((base == other).float().mean()) - 0.5) < 0.01
    assert torch.equal(base, by_position(RandomConfig(rate=0.5), n))


def test_a_higher_rate_keeps_the_active_positions():
    assert (by_position(RandomConfig(rate=0.3), 1000) <= by_position(RandomConfig(rate=0.6), 1000)).all()


def test_every_kth_counts_from_position_zero():
    active = by_position(EveryKthConfig(k=3), 8)
    assert active.tolist() == [True, False, False, True, False, False, True, False]
    assert by_position(EveryKthConfig(k=1), 8).all()


@torch.no_grad()
@pytest.mark.parametrize("ffn_hidden", [None, 6])
@each_kind
def test_step_and_segments_equal_forward(kind, ffn_hidden):
    torch.manual_seed(1)
    config = small(
        bidirectional=False, position="rotary", ffn_hidden=ffn_hidden, configurator=CONFIGURATOR_CONFIGS[kind]()
    )
    model = LanguageModel(config, vocab_size=11).eval()
    for layer in model.encoder.layers:
        layer.hx_proj.weight.normal_(std=0.5)
    tokens = torch.randint(11, (2, 40))
    whole = model(tokens)

    state, logits, active = model.init_state(2), [], []
    for token in tokens.unbind(1):
        out, decisions, state = model.step(token, state)
        logits.append(out)
        active.append(torch.stack([decision.active for decision in decisions]))
    torch.testing.assert_close(torch.stack(logits, 1), whole.logits, atol=1e-4, rtol=1e-4)
    expected = torch.stack([activation.active for activation in whole.activations])
    assert torch.equal(torch.stack(active, dim=-1), expected)

    state, parts = model.init_state(2), []
    for segment in tokens.split((7, 1, 32), dim=1):
        out = model(segment, state)
        parts.append(out.logits)
        state = out.state
    torch.testing.assert_close(torch.cat(parts, 1), whole.logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@each_kind
def test_padding_is_never_active_and_changes_no_row(kind):
    torch.manual_seed(2)
    model = Classifier(small(configurator=CONFIGURATOR_CONFIGS[kind](), ffn_hidden=6), 3, 11).eval()
    for layer in model.encoder.layers:
        layer.hx_proj.weight.normal_(std=0.5)
    tokens = torch.randint(1, 11, (3, 30))
    padding = torch.arange(30) >= torch.tensor([30, 17, 1]).unsqueeze(1)
    together = model(tokens, padding)
    assert not any((activation.active & padding).any() for activation in together.activations)
    for row, length in enumerate((30, 17, 1)):
        alone = model(tokens[row : row + 1, :length])
        torch.testing.assert_close(together.logits[row : row + 1], alone.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kernel", SSM_CONFIGS)
@each_kind
def test_every_parameter_takes_part_in_every_step(kind, kernel):
    config = small(configurator=CONFIGURATOR_CONFIGS[kind](), ssm=SSM_CONFIGS[kernel](state_size=2), ffn_hidden=4)
    model = Classifier(config, 3, 11)
    if kind in ("tempered_softmax", "sigmoid"):  # the case without any active token
        with torch.no_grad():
            for layer in model.encoder.layers:
                layer.hx_proj.weight[: layer.configurator.logits] = 0
    out = model(torch.randint(1, 11, (2, 20)))
    out.logits.sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing
    if not any(activation.active.any() for activation in out.activations):
        attention = model.encoder.layers[0].attention
        assert all(not p.grad.any() for p in attention.parameters())


def test_always_takes_everything_and_never_nothing():
    tokens = torch.randint(1, 11, (2, 20))
    for kind, expected in (("always", True), ("never", False)):
        model = Classifier(small(configurator=CONFIGURATOR_CONFIGS[kind]()), 3, 11)
        for activation in model(tokens).activations:
            assert activation.active.all() if expected else not activation.active.any()


def test_random_layers_choose_different_positions():
    model = Classifier(small(configurator=RandomConfig(rate=0.5)), 3, 11)
    first, second = (a.active[0] for a in model(torch.randint(1, 11, (1, 200))).activations)
    assert not torch.equal(first, second)
    assert isinstance(copy.deepcopy(model).encoder.layers[1].configurator, Random)
