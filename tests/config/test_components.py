"""Impossible kernels and configurators are refused when the configuration is made, in one line with the full key."""

import pytest

from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.config.configurator import EveryKthConfig, NeverConfig
from seqboat_lab.config.ssm import S4DConfig


def experiment(*overrides: str):
    return load_experiment("lra/listops_short", overrides)


@pytest.mark.parametrize("kernel", ["ema", "cema", "s4d", "s4", "s5", "lru"])
def test_every_kernel_is_one_field(kernel):
    assert experiment(f"model.ssm.kernel={kernel}", "model.ssm.state_size=8").model.ssm.state_size == 8


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("model.ssm.kernel=s4dd", r"model.ssm.kernel: unknown kernel 's4dd' \(did you mean 's4d'\?\)"),
        ("model.ssm.state_size=0", "model.ssm.state_size: 0 .* at least 1"),
        ("model.memory_size=0", "model.memory_size: 0 .* at least 1"),
        ("model.ffn_hidden=0", "model.ffn_hidden: 0 .* at least 1"),
        ("model.configurator.kind=gumble_softmax", "did you mean 'gumbel_softmax'"),
        ("optim.ssm_lr=-1", "optim.ssm_lr: -1.0 .* at least 0"),
    ],
)
def test_impossible_values_are_refused(override, error):
    with pytest.raises(ConfigError, match=error):
        experiment(override)


@pytest.mark.parametrize("kernel", ["s4d", "s4", "s5"])
def test_an_odd_state_is_refused_where_modes_are_pairs(kernel):
    with pytest.raises(ConfigError, match=r"model.ssm.state_size: 7 .* an even number"):
        experiment(f"model.ssm.kernel={kernel}", "model.ssm.state_size=7")


@pytest.mark.parametrize("kernel", ["s4", "s5", "lru"])
def test_truncation_is_refused_where_a_kernel_has_none(kernel):
    with pytest.raises(ConfigError, match=r"model.ssm.truncation: unknown field of \w+ 'truncation'; allowed:"):
        experiment(f"model.ssm.kernel={kernel}", "model.ssm.truncation=100")


@pytest.mark.parametrize(
    ("ssm", "error"),
    [
        ("{kernel: s5, state_size: 12, blocks: 4}", r"ssm.state_size: 12 .* a multiple of 2 \* blocks = 8"),
        ("{kernel: s4d, dt_min: 0}", "ssm.dt_min: 0.0 .* above 0"),
        ("{kernel: s4, dt_min: 0.2}", "ssm.dt_max: 0.1 .* at least dt_min = 0.2"),
        ("{kernel: lru, r_max: 1.5}", "ssm.r_max: 1.5 .* from 0 to 1"),
        ("{kernel: lru, r_min: 0.9, r_max: 0.8}", "ssm.r_max: 0.8 .* more than r_min = 0.9"),
        ("{kernel: ema, truncation: 0}", "ssm.truncation: 0 .* at least 1"),
    ],
)
def test_impossible_kernels_are_refused(ssm, error):
    with pytest.raises(ConfigError, match=error):
        experiment(f"model.ssm={ssm}")


@pytest.mark.parametrize(
    ("configurator", "error"),
    [
        ("{kind: random, rate: 1.2}", "configurator.rate: 1.2 .* from 0 to 1"),
        ("{kind: random, rate: -0.1}", "configurator.rate: -0.1 .* from 0 to 1"),
        ("{kind: every_kth, k: 0}", "configurator.k: 0 .* at least 1"),
        ("{kind: gumbel_softmax, final_temperature: 0}", "configurator.final_temperature: 0.0 .* above 0"),
        ("{kind: gumbel_softmax, initial_temperature: 0.1}", "initial_temperature: 0.1 .* final_temperature = 0.5"),
        ("{kind: gumbel_softmax, anneal_steps: 0}", "configurator.anneal_steps: 0 .* at least 1"),
    ],
)
def test_impossible_configurators_are_refused(configurator, error):
    with pytest.raises(ConfigError, match=error):
        experiment(f"model.configurator={configurator}")


def test_a_section_given_whole_replaces_the_one_in_the_file():
    model = experiment("model.configurator={kind: every_kth, k: 3}").model
    assert (model.configurator.kind, model.configurator.k) == ("every_kth", 3)


@pytest.mark.parametrize(
    "override", ["model.configurator={kind: sigmoid, temperature_scale: 0.3}", "model.ssm={kernel: s5, truncation: 8}"]
)
def test_a_section_given_whole_may_not_keep_what_its_new_kind_has_not(override):
    """The file's own field of the replaced kind goes quietly; one that the override itself names is a mistake."""
    assert experiment(override.split(",")[0] + "}")
    with pytest.raises(ConfigError, match=r"unknown field of \w+ '(temperature_scale|truncation)'"):
        experiment(override)


@pytest.mark.parametrize("overrides", [["model.configurator=every_kth"], ["model.configurator.kind=every_kth"]])
def test_a_section_may_be_given_as_its_kind_alone_and_changed_either_way(overrides, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: listops\nmodel: {configurator: never, ssm: s4d}\n")
    assert load_experiment(path).model.configurator == NeverConfig()
    assert load_experiment(path).model.ssm == S4DConfig()
    assert load_experiment(path, overrides).model.configurator == EveryKthConfig()
    assert load_experiment(path, [*overrides, "model.configurator.k=7"]).model.configurator.k == 7
