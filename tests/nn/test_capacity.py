"""The capacity configurator: its threshold follows the quantile while training, and stands still after."""

import math

import pytest
import torch

from seqboat_lab.config.configurator import CapacityConfig
from seqboat_lab.nn import Classifier, LanguageModel
from seqboat_lab.nn.capacity import Capacity, plan_training, quantile_above
from seqboat_lab.nn.configurator import TemperedSoftmax
from tests.nn.test_configurator import small


def capacity(batches: int | None = None, **fields) -> Capacity:
    configurator = Capacity(CapacityConfig(**{"start_confidence": 0.5} | fields), d_model=16)
    plan_training(configurator, batches)
    return configurator


def logits(*evidence: float, temperature: float = 4.0) -> torch.Tensor:
    """(1, L, 2) router logits whose evidence this is at temperature 1.0 * sqrt(16)."""
    return torch.stack([torch.zeros(len(evidence)), temperature * torch.tensor(evidence)], dim=-1).unsqueeze(0)


def test_confidence_is_that_of_the_tempered_softmax_whatever_the_threshold():
    one, u = capacity(temperature_scale=0.5), torch.randn(3, 20, 2)
    one.threshold.fill_(0.2)
    decision = one(u, 0)
    expected = torch.softmax(u / 2, dim=-1)[..., 1]
    torch.testing.assert_close(decision.confidence, expected)
    assert torch.equal(decision.active, torch.logit(expected) > 0.2)
    one.threshold.zero_()
    assert torch.equal(one(u, 0).active, TemperedSoftmax(one.config, 16)(u, 0).active)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_the_quantile_is_exceeded_by_the_share_of_real_tokens(share):
    x = torch.randn(7, 100)
    padding = torch.arange(100) >= torch.tensor([100, 90, 80, 50, 30, 40, 10]).unsqueeze(1)  # 400 are real
    above = quantile_above(x, torch.tensor(share), padding)
    assert int(((x > above) & ~padding).sum()) == round(400 * share)
    huge = x.masked_fill(padding, 1e9)  # what stands in the padding does not count
    assert quantile_above(huge, torch.tensor(share), padding) == above


def test_a_batch_is_decided_by_those_before_it_and_the_threshold_follows_with_its_momentum():
    one = capacity(rate=0.5, momentum=0.75)
    assert one(logits(1, 2, 3, 4), 0).active.all()  # nothing was seen yet
    one.track(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), None)
    assert one.threshold == 2
    assert one(logits(1, 2.5, 2, 4), 0).active.tolist() == [[False, True, False, True]]
    one.track(torch.tensor([[11.0, 12.0, 13.0, 14.0]]), None)
    assert one.threshold == pytest.approx(0.75 * 2 + 0.25 * 12)


def test_the_rate_falls_in_a_straight_line_between_two_shares_of_the_planned_training():
    one = capacity(10, rate=0.2, start_rate=1.0, anneal_from=0.2, anneal_to=0.6)
    rates = []
    for _ in range(12):
        rates.append(float(one.rate()))
        one.track(torch.randn(1, 10), None)
    assert rates == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2])
    assert float(capacity(None, rate=0.2).rate()) == pytest.approx(0.2)  # no plan: the rate itself


def test_at_rate_one_everything_is_active_and_leaving_it_takes_one_batch():
    one = capacity(10, rate=0.5, anneal_from=0.2, anneal_to=0.2)
    evidence = torch.arange(8.0).view(1, 8)
    for _ in range(4):
        assert one(logits(*range(-8, 0)), 0).active.all()
        one.track(evidence, None)
    assert one.threshold == 3


def test_the_rate_is_met_within_two_points_while_the_evidence_drifts():
    torch.manual_seed(0)
    one = capacity(400, rate=0.3, anneal_from=0.2, anneal_to=0.5)
    seen = []
    for i in range(400):
        evidence = torch.randn(8, 64) * (1 + i / 400) + i / 50
        seen.append((evidence > one.threshold).float().mean())
        one.track(evidence, None)
    assert abs(torch.stack(seen[-100:]).mean() - 0.3) < 0.02


def test_a_router_without_opinion_has_the_start_confidence():
    for start in (0.5, 0.9):
        decision = capacity(start_confidence=start)(torch.zeros(1, 3, 2), 0)
        torch.testing.assert_close(decision.confidence, torch.full((1, 3), start))


def test_evaluation_and_steps_leave_the_threshold_alone():
    torch.manual_seed(0)
    model = LanguageModel(small(bidirectional=False, configurator=CapacityConfig(rate=0.4)), vocab_size=11)
    for layer in model.encoder.layers:
        torch.nn.init.normal_(layer.hx_proj.weight, std=0.5)
    tokens = torch.randint(11, (4, 30))
    for _ in range(3):
        model(tokens)
    before = {name: b.clone() for name, b in model.named_buffers()}
    assert all(math.isfinite(layer.configurator.threshold) for layer in model.encoder.layers)
    model.eval()
    whole = model(tokens)
    assert 0.1 < whole.activations[0].active.float().mean() < 0.8
    alone = model(tokens[:1])
    assert torch.equal(alone.activations[1].active, whole.activations[1].active[:1])
    state = model.init_state(4)
    for t, token in enumerate(tokens.unbind(1)):
        _, decisions, state = model.step(token, state)
        for decision, activation in zip(decisions, whole.activations, strict=True):
            assert torch.equal(decision.active, activation.active[:, t])
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())


def test_a_checkpoint_goes_on_with_the_same_threshold_and_rate():
    one, u = capacity(20, rate=0.3), torch.randn(9, 4, 50)
    for x in u[:6]:
        one.track(x, None)
    other = capacity(20, rate=0.3)
    other.load_state_dict(one.state_dict())
    for x in u[6:]:
        one.track(x, None)
        other.track(x, None)
    assert torch.equal(one.threshold, other.threshold)
    assert torch.equal(one.rate(), other.rate())


def test_padding_is_not_counted_by_a_layer_that_trains():
    torch.manual_seed(0)
    model = Classifier(small(layers=1, configurator=CapacityConfig(rate=0.4)), 3, 11)
    tokens = torch.randint(1, 11, (3, 30))
    padding = torch.arange(30) >= torch.tensor([30, 17, 5]).unsqueeze(1)
    out = model(tokens, padding)
    real = out.activations[0].evidence[~padding]
    threshold = model.encoder.layers[0].configurator.threshold
    assert int((real > threshold).sum()) == round(0.4 * 52)


def test_the_threshold_steadies_in_the_last_tenth_of_training():
    """Batches of 60 tokens have quantiles far apart; what is left at the end is a mean over many of them."""
    torch.manual_seed(0)
    errors = {}
    for batches in (None, 1000):
        rates = []
        for _ in range(20):
            one = capacity(batches, rate=0.3)
            for _ in range(1000 if batches else 100):
                one.track(torch.randn(1, 60), None)
            rates.append(0.5 - 0.5 * torch.erf(one.threshold / 2**0.5))  # the normal distribution's share above
        errors[batches] = (torch.stack(rates) - 0.3).square().mean().sqrt()
    assert errors[1000] < 0.015 < 0.02 < errors[None]


def test_layers_that_share_a_budget_have_one_threshold_that_of_all_their_evidence():
    torch.manual_seed(0)
    config = CapacityConfig(rate=0.25, budget="model", start_confidence=0.5)
    model = torch.nn.ModuleList(Capacity(config, 16, layer) for layer in range(3))
    plan_training(model, None)
    evidence = [torch.randn(4, 50) + shift for shift in (0.0, 2.0, -2.0)]
    padding = torch.arange(50) >= torch.tensor([50, 40, 30, 20]).unsqueeze(1)
    for one, seen in zip(model, evidence, strict=True):
        assert one.threshold == -math.inf  # the batch is decided by those before it
        one.track(seen, padding)
    assert len({float(one.threshold) for one in model}) == 1
    active = [int(((e > model[0].threshold) & ~padding).sum()) for e in evidence]
    assert sum(active) == round(0.25 * 3 * 140)
    assert active[1] > 2 * active[0] > 4 * active[2]
    assert [int(one.batches) for one in model] == [1, 1, 1]


def test_layers_with_other_settings_or_budgets_of_their_own_do_not_share():
    configs = [CapacityConfig(rate=r, budget=b) for r, b in ((0.2, "model"), (0.4, "model"), (0.2, "layer"))]
    model = torch.nn.ModuleList(Capacity(config, 16, layer) for layer, config in enumerate(configs))
    plan_training(model, None)
    for one in model:
        one.track(torch.arange(10.0).view(1, 10), None)
    assert [float(one.threshold) for one in model] == [7, 5, 7]
