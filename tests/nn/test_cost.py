"""The cost model against what torch counts and what the modules hold."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seqboat_lab.config.configurator import AlwaysConfig, EveryKthConfig, NeverConfig, TemperedSoftmaxConfig
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import SSM_CONFIGS, EMAConfig
from seqboat_lab.nn import Classifier, SeqBoat
from seqboat_lab.nn.cost import PARTS, cost_per_token, count_parameters, parameters_by_part
from seqboat_lab.nn.ssm import make_ssm


def counted_per_token(forward, length: int, d_model: int) -> float:
    """FLOPs that torch sees per further token: work done once per batch cancels in the difference."""

    def counted(batch: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            forward(torch.randn(batch, length, d_model))
        return counter.get_total_flops()

    return (counted(8) - counted(4)) / (4 * length)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [50, 300])
@pytest.mark.parametrize("kernel", SSM_CONFIGS)
def test_kernels_count_the_matrix_products_that_torch_counts(kernel, length, bidirectional):
    config = SSM_CONFIGS[kernel](state_size=8)
    ssm = make_ssm(config, 12, bidirectional)
    expected = counted_per_token(lambda x: ssm(x), length, 12)
    assert SSM_CONFIGS.implementation(kernel).flops(config, 12, bidirectional, length).matmul == pytest.approx(
        expected, rel=0.02
    )


def test_a_truncated_kernel_counts_its_further_scans():
    config = EMAConfig(state_size=8, truncation=100)
    ssm = make_ssm(config, 12, True)
    expected = counted_per_token(lambda x: ssm(x), 300, 12)
    assert SSM_CONFIGS.implementation("ema").flops(config, 12, True, 300).matmul == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("configurator", "rate"), [(AlwaysConfig(), 1.0), (EveryKthConfig(k=4), 0.25), (NeverConfig(), 0.0)]
)
@pytest.mark.parametrize("memory_size", [4, 40])
def test_whole_networks_cost_what_torch_counts(configurator, rate, bidirectional, memory_size):
    config = ModelConfig(
        layers=2, d_model=16, d_hidden=24, d_attention=8, memory_size=memory_size,
        bidirectional=bidirectional, configurator=configurator, ffn_hidden=20,
    )  # fmt: skip
    net = SeqBoat(config).eval()
    expected = counted_per_token(net, 480, 16)
    assert cost_per_token(config, 480, [rate] * 2)["total"] == pytest.approx(expected, rel=0.03)


def test_the_router_pays_for_its_logits_and_parts_sum_to_the_total():
    config = ModelConfig(d_model=16, configurator=TemperedSoftmaxConfig())
    cost = cost_per_token(config, 100, [0.5, 0.1])
    assert cost["router"] == 2 * (2 * 16 * 2)
    assert cost["total"] == sum(cost[part] for part in PARTS)
    assert cost_per_token(config, 100, [0.5, 0.5])["gau"] > cost["gau"] > 0


def test_parameters_are_counted_once_and_in_their_part():
    model = Classifier(ModelConfig(layers=3, d_model=10, ffn_hidden=7), num_classes=4, vocab_size=9)
    parts = parameters_by_part(model)
    assert parts["total"] == count_parameters(model) == sum(v for k, v in parts.items() if k != "total")
    assert parts["router"] == 3 * (2 * 10 + 2 + 1)  # logits' weights and biases, and the temperature
    assert parts["skip"] == 3 * (10 * 10 + 10)
    assert parts["ffn"] == 3 * (10 * 7 + 7 + 7 * 10 + 10 + 2 * 10)  # both linears and the norm
    assert parts["other"] == 9 * 10 + 3 * 20 + (10 * 128 + 128) + 128 * 4  # embedding, norms, head
