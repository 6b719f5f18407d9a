"""The schedule's values and which parameters decay."""

import pytest
import torch

from seqboat_lab.config import ConfigError, ModelConfig, OptimConfig, load_experiment
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn import Classifier
from seqboat_lab.training.optim import learning_rate, make_optimizer, parameter_groups, ssm_learning_rate


def test_schedule_passes_through_the_authors_points():
    c = OptimConfig(lr=4e-3, warmup_steps=27_000)
    rate = [learning_rate(c, 90_000, step) for step in (0, 13_500, 27_000, 58_500, 90_000)]
    assert rate == pytest.approx([1e-7, (4e-3 + 1e-7) / 2, 4e-3, 2e-3, 0.0], rel=1e-9)


def test_path_x_warms_up_with_a_power_and_decays_straight():
    """`--warmup-power 2` of the authors' scheduler: (update / warm-up)^2 up, a straight line down."""
    for name in ("lra/pathx", "lra/path256"):
        c = load_experiment(name)
        rates = [learning_rate(c.optim, c.trainer.max_steps, step) for step in (12_500, 25_000, 75_000, 112_500)]
        assert rates == pytest.approx([2.5e-3, 1e-2, 5.0e-3, 1.25e-3], rel=1e-4)


def test_schedule_may_decay_with_a_power():
    c = OptimConfig(lr=1e-2, warmup_steps=25_000, decay_power=2)
    assert learning_rate(c, 125_000, 75_000) == pytest.approx(1e-2 * 0.5**2)


def test_the_optimiser_takes_the_scheduled_steps():
    model = torch.nn.Linear(1, 1, bias=False)
    config = OptimConfig(lr=0.1, warmup_steps=2, warmup_init_lr=0.0, weight_decay=0.0)
    optimizer, schedule = make_optimizer(model, config, max_steps=4)
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["lr"])
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        schedule.step()
    assert seen == pytest.approx([0.0, 0.05, 0.1, 0.05])


def test_weight_decay_is_decoupled():
    model = torch.nn.Linear(3, 2)
    before = model.weight.detach().clone()
    config = OptimConfig(lr=0.1, weight_decay=0.5, warmup_steps=0)
    optimizer, _ = make_optimizer(model, config, max_steps=10)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight, before * (1 - 0.1 * 0.5))


def classifier() -> Classifier:
    return Classifier(ModelConfig(layers=1, d_model=8, d_hidden=8, d_attention=4, prenorm=True), 10, 15)


def test_norms_biases_scalars_and_the_ssm_do_not_decay():
    model = classifier()
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, *rest = ({names[id(p)] for p in g["params"]} for g in parameter_groups(model, OptimConfig()))
    assert decayed == {
        "embedding.weight", "hidden.weight", "output.weight",
        "encoder.layers.0.hx_proj.weight",
        "encoder.layers.0.attention.mx_proj.weight", "encoder.layers.0.attention.h_proj.weight",
    }  # fmt: skip
    assert decayed | set().union(*rest) == set(names.values())


@pytest.mark.parametrize("kernel", SSM_CONFIGS)
def test_one_step_without_gradient_shrinks_every_parameter_when_everything_decays(kernel):
    model = ssm_model(kernel)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = OptimConfig(lr=0.1, ssm_lr=0.02, warmup_steps=0, weight_decay=0.3, decay_everything=True)
    optimizer, _ = make_optimizer(model, config, max_steps=10)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        lr = 0.02 if name.rsplit(".", 1)[-1] in SLOW[kernel] and ".ssm." in name else 0.1
        torch.testing.assert_close(parameter, before[name] * (1 - lr * 0.3), rtol=1e-5, atol=1e-7)


def test_a_decay_of_time_scales_beside_decay_everything_is_refused():
    with pytest.raises(ConfigError, match=r"ssm_weight_decay: 0\.1 is not possible here; expected 0 with decay_every"):
        OptimConfig(decay_everything=True, ssm_weight_decay=0.1)


def ssm_model(kernel: str) -> Classifier:
    config = ModelConfig(layers=2, d_model=8, d_hidden=8, d_attention=4, ssm=SSM_CONFIGS[kernel](state_size=4))
    return Classifier(config, 10, 15)


SLOW = {
    "ema": set(),
    "cema": set(),
    "s4d": {"log_A_real", "A_imag", "log_dt"},
    "s4": {"log_A_real", "A_imag", "P", "B", "log_dt"},
    "s5": {"log_A_real", "A_imag", "log_dt", "B"},
    "lru": {"log_nu", "log_theta", "log_gamma", "B"},
}
DECAYED = {kernel: set() if "ema" in kernel else {"C", "omega"} for kernel in SLOW}  # C and D of the references


@pytest.mark.parametrize("kernel", SLOW)
def test_an_ssms_parameters_train_and_decay_as_in_its_reference(kernel):
    model = ssm_model(kernel)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, OptimConfig(lr=4e-3, weight_decay=0.1))
    in_ssm = {group["name"]: {names[id(p)] for p in group["params"] if ".ssm." in names[id(p)]} for group in groups}
    of_both_layers = {
        kind: {f"encoder.layers.{i}.ssm.{name}" for i in range(2) for name in expected[kernel]}
        for kind, expected in (("ssm", SLOW), ("decayed", DECAYED))
    }
    assert in_ssm.get("ssm", set()) == of_both_layers["ssm"]
    assert in_ssm["decayed"] == of_both_layers["decayed"]
    assert {group["name"]: group["weight_decay"] for group in groups if group["name"] != "ssm"} == {
        "decayed": 0.1, "whole": 0.0,
    }  # fmt: skip
    for group in groups:
        if group["name"] == "ssm":
            assert group["lr"] == pytest.approx(4e-4)
            assert group["weight_decay"] == 0.0
    assert sum(len(group["params"]) for group in groups) == len(names)


def test_the_ssm_rate_is_at_most_a_thousandth_and_can_be_set_as_can_its_decay():
    assert ssm_learning_rate(OptimConfig(lr=0.1)) == pytest.approx(1e-3)
    config = OptimConfig(lr=0.1, ssm_lr=0.02, ssm_weight_decay=0.3)
    (slow,) = (g for g in parameter_groups(ssm_model("s5"), config) if g["name"] == "ssm")
    assert (slow["lr"], slow["weight_decay"]) == (0.02, 0.3)


def test_every_group_follows_the_schedule_up_to_its_own_peak():
    config = OptimConfig(lr=0.1, ssm_lr=0.01, warmup_steps=2, warmup_init_lr=0.0)
    optimizer, schedule = make_optimizer(ssm_model("lru"), config, max_steps=4)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert seen == [pytest.approx([f * 0.1, f * 0.1, f * 0.01]) for f in (0.0, 0.5, 1.0, 0.5)]
