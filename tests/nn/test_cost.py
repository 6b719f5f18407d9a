"""The cost model against what torch counts and what the modules hold."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seqboat_lab.config.configurator import (
    AlwaysConfig,
    CapacityConfig,
    EveryKthConfig,
    NeverConfig,
    TemperedSoftmaxConfig,
)
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import SSM_CONFIGS, EMAConfig
from seqboat_lab.nn import Classifier, SeqBoat
from seqboat_lab.nn.cost import (
    PARTS,
    cost_per_token,
    count_parameters,
    expected_rates,
    fixed_rate_of,
    parameters_by_part,
)
from seqboat_lab.nn.mixers import Mixer
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


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [50, 300])
@pytest.mark.parametrize("kind", MIXER_CONFIGS)
def test_mixers_cost_what_torch_counts_and_what_it_does_not_see(kind, length, bidirectional):
    """To the last FLOP, but for attention in tiles over lengths that do not fill them and for what a kernel rounds."""
    settings = {"window": 20} if kind == "local_attention" else {"head_size": 4} if kind == "mamba" else {}
    mixers = {kind: MIXER_CONFIGS[kind](**settings)}
    config = ModelConfig(
        kind=kind, mixers=mixers, layers=2, d_model=16, d_hidden=24, d_attention=8, memory_size=20,
        configurator=AlwaysConfig(), bidirectional=bidirectional,
    )  # fmt: skip
    net = SeqBoat(config).eval()
    for layer in net.layers:
        if kind == "mod":  # route all
            torch.nn.init.constant_(layer.predictor[-1].bias, 100.0)
    counted = counted_per_token(net, length, 16)
    made_of = MIXER_CONFIGS.implementation(kind)
    unseen = made_of.flops(config.layer(0), length).other if issubclass(made_of, Mixer) else 0.0
    unseen *= 2 * (2 if bidirectional else 1)
    total = cost_per_token(config, length, [1.0] * config.activating_layers)["total"]
    assert total - unseen == pytest.approx(counted, rel=0.03 if kind in ("seqboat", "mega", "ssm") else 1e-9)
    assert (unseen > 0) == (kind == "hyena")


def test_layers_that_always_or_never_attend_have_one_rate_whatever_the_models_configurator():
    config = ModelConfig(blocks=["mega", "seqboat", "mod"], layers=3, configurator=NeverConfig())
    assert [fixed_rate_of(config.layer(i)) for i in range(3)] == [1.0, 0.0, None]


def test_a_hybrid_costs_its_layers_and_its_parameters_are_all_in_some_part():
    def cost(rates, **fields):
        return cost_per_token(ModelConfig(d_model=16, **fields), 100, rates)["total"]

    kinds = ["mamba", "seqboat", "transformer", "mod"]
    alone = [cost([0.3] * (kind in ("seqboat", "mod")), kind=kind, layers=1) for kind in kinds]
    assert cost([0.3, 0.3], blocks=kinds, layers=4) == pytest.approx(sum(alone))
    model = Classifier(ModelConfig(d_model=16, blocks=[*kinds, "ssm"], layers=5), num_classes=4, vocab_size=9)
    parts = parameters_by_part(model)
    assert parts["total"] == sum(p.numel() for p in model.parameters())
    norms = 1 + 1 + 2 + 2 + 1 + 1  # mamba, seqboat, transformer, mod, ssm, and the last one; each has weight and bias
    assert parts["other"] == 9 * 16 + (16 * 128 + 128) + 128 * 4 + norms * 2 * 16


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


def counted_training_per_token(net, length: int, d_model: int) -> float:
    """FLOPs that torch sees of a forward and a backward pass per further token; of a convolution's two gradients each as
    much as of itself, where torch's formula takes those of grouped ones' weights for those of a dense one."""

    def counted(batch: int) -> int:
        x = torch.randn(batch, length, d_model, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            out, _ = net(x)
            out.sum().backward()
        seen = counter.get_flop_counts()["Global"]
        convolved, there_and_back = (seen.get(getattr(torch.ops.aten, f"convolution{s}"), 0) for s in ("", "_backward"))
        return counter.get_total_flops() + 2 * convolved - there_and_back

    return (counted(4) - counted(2)) / (2 * length)


@pytest.mark.parametrize(("length", "bidirectional"), [(64, False), (152, True)])  # of 4, for mod
@pytest.mark.parametrize("kind", MIXER_CONFIGS)
def test_a_training_step_costs_what_torch_counts_of_both_passes(kind, length, bidirectional):
    settings = {"window": 20} if kind == "local_attention" else {"head_size": 4} if kind == "mamba" else {}
    settings |= {"capacity": 0.25} if kind == "mod" else {}
    config = ModelConfig(
        kind=kind, mixers={kind: MIXER_CONFIGS[kind](**settings)}, layers=2, d_model=16, d_hidden=24, d_attention=8,
        memory_size=20, configurator=AlwaysConfig(), bidirectional=bidirectional, ffn_hidden=20,
    )  # fmt: skip
    counted = counted_training_per_token(SeqBoat(config).train(), length, 16)
    rates = [0.25 if kind == "mod" else 1.0] * config.activating_layers
    made_of = MIXER_CONFIGS.implementation(kind)
    fft = made_of.flops(config.layer(0), length).other if issubclass(made_of, Mixer) else 0.0
    unseen = 2 * fft * config.layers * (2 if bidirectional else 1)  # there and back again in each pass
    total = cost_per_token(config, length, rates, training=True)["total"]
    assert total - unseen == pytest.approx(counted, rel=0.03 if kind in ("seqboat", "mega", "ssm") else 1e-9)


@pytest.mark.parametrize("kernel", SSM_CONFIGS)
def test_a_kernels_products_cost_three_times_as_much_in_training(kernel):
    config = SSM_CONFIGS[kernel](state_size=8)
    ssm = make_ssm(config, 12, False)
    flops = SSM_CONFIGS.implementation(kernel).flops(config, 12, False, 300)
    counted = counted_training_per_token(lambda x: ssm(x), 300, 12)
    unseen = flops.training - 3 * flops.matmul
    assert flops.training - unseen == pytest.approx(counted, rel=0.03)
    assert (unseen > 0) == (flops.other > 0)


def test_the_rate_to_count_with_is_the_only_one_the_one_asked_for_or_what_the_settings_ask_for():
    dial = ModelConfig(configurator=CapacityConfig(rate=0.2), layers=1)
    learnt, fixed = ModelConfig(layers=1), ModelConfig(kind="mega", layers=1)
    routed = ModelConfig(kind="mod", layers=1, configurator=CapacityConfig(rate=0.2))
    assert [expected_rates(each) for each in (dial, learnt, fixed, routed)] == [[0.2], [0.5], [1.0], [0.125]]
    assert [expected_rates(each, 0.3) for each in (dial, learnt, fixed, routed)] == [[0.3], [0.3], [1.0], [0.3]]
    assert [expected_rates(each, otherwise=0.3) for each in (dial, learnt, fixed)] == [[0.2], [0.3], [1.0]]
