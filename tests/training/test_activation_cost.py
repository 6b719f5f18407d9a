"""The price of attention: ramped, over real tokens, by token or by FLOPs, and paid by whoever decides."""

import pytest
import torch

from seqboat_lab.config import ConfigError, OptimConfig
from seqboat_lab.config.model import LayerConfig, ModelConfig
from seqboat_lab.nn import Classifier
from seqboat_lab.nn.cost import attention_flops, cost_per_token
from seqboat_lab.nn.models import Activation
from seqboat_lab.training.activation_cost import layer_weights, price, probability_of_activation
from seqboat_lab.training.experiment import make_module
from seqboat_lab.training.model import make_datamodule


def test_the_price_rises_in_a_straight_line_between_two_shares_of_training():
    config = OptimConfig(activation_cost=0.5, activation_cost_from=0.2, activation_cost_to=0.6)
    asked = [price(config, progress) for progress in (0.0, 0.2, 0.3, 0.5, 0.6, 1.0)]
    assert asked == pytest.approx([0, 0, 0.125, 0.375, 0.5, 0.5])
    at_once = OptimConfig(activation_cost=0.5, activation_cost_from=0, activation_cost_to=0)
    assert price(at_once, 0.001) == 0.5


def test_the_probability_is_the_mean_over_real_tokens_and_the_layers_weights():
    evidence = torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.0, 9.0]])
    padding = torch.tensor([[False, False, True], [False, True, True]])
    one, two = (Activation(e > 0, e, e) for e in (evidence, -evidence))
    deaf = Activation(evidence > 0, evidence)  # decisions that ignore the input pay nothing
    real = torch.sigmoid(torch.tensor([0.0, 1.0, 3.0])).mean()
    value = probability_of_activation([one, two, deaf], padding, [0.5, 0.3, 0.2])
    torch.testing.assert_close(value, 0.5 * real + 0.3 * (1 - real))
    assert probability_of_activation([deaf], padding, [1.0]) is None


def test_a_layer_pays_for_the_flops_it_would_use():
    config = ModelConfig(layers=3, by_layer={1: LayerConfig(memory_size=512), 2: LayerConfig(d_hidden=8)})
    assert layer_weights(config, "token") == pytest.approx([1 / 3] * 3)
    weights = layer_weights(config, "flop")
    assert sum(weights) == pytest.approx(1)
    assert weights[1] > weights[0] > weights[2]
    for i in range(3):
        alone = [float(i == j) for j in range(3)]
        extra = cost_per_token(config, 100, alone)["gau"]
        assert extra == attention_flops(config.layer(i))
        assert weights[i] == pytest.approx(extra / cost_per_token(config, 100, [1, 1, 1])["gau"])


@pytest.mark.parametrize("kind", ["tempered_softmax", "gumbel_softmax", "sigmoid", "capacity"])
def test_the_price_pushes_every_token_towards_inactivity(tiny, kind):
    config = tiny(f"model.configurator={{kind: {kind}}}")
    model = Classifier(config.model, 3, 11)
    tokens = torch.randint(1, 11, (2, 20))
    out = model(tokens)
    probability = probability_of_activation(out.activations, None, layer_weights(config.model, "token"))
    for activation in out.activations:
        activation.evidence.retain_grad()
    probability.backward()
    assert all((activation.evidence.grad > 0).all() for activation in out.activations)


def test_the_training_loss_has_the_price_and_the_logged_one_has_not(tiny):
    free, paid = (
        tiny("model.dropout=0", f"optim.activation_cost={cost}", "optim.activation_cost_from=0") for cost in (0, 0.25)
    )
    data = make_datamodule(free)
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    losses = []
    for config in (free, paid):
        module = make_module(config, data)
        module.batches_seen = config.trainer.max_steps * config.trainer.accumulate - 1  # all of the price
        module.is_log_step = lambda: False
        losses.append(module.training_step(batch, 0))
    probability = probability_of_activation(module(batch).activations, batch.padding_mask, module.cost_weights)
    torch.testing.assert_close(losses[1] - losses[0], 0.25 * probability)


def test_impossible_prices_are_refused():
    for fields in ({"activation_cost": -1.0}, {"activation_cost_from": 1.5}, {"activation_cost_to": 0.1}):
        with pytest.raises(ConfigError, match=next(iter(fields))):
            OptimConfig(**fields)
