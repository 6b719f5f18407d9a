"""YAML and overrides become checked configs; every mistake is one line that names the key."""

import dataclasses
from pathlib import Path

import pytest

from seqboat_lab.config import ConfigError, ExperimentConfig, ListOpsConfig, load_experiment
from seqboat_lab.config.files import CONFIG_DIR, build, field_type, to_dict

EXPERIMENTS = sorted(str(p.relative_to(CONFIG_DIR)) for p in CONFIG_DIR.rglob("*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_config_in_the_repo_loads_and_survives_a_round_trip(name):
    config = load_experiment(name)
    assert build(ExperimentConfig, to_dict(config)) == config


def test_the_listops_recipe_is_the_authors():
    c = load_experiment("lra/listops")
    m = c.model
    assert (m.layers, m.d_model, m.d_hidden, m.d_attention, m.memory_size) == (6, 80, 160, 64, 128)
    assert (m.attention, m.norm, m.prenorm, m.position, m.absolute_position) == (
        "softmax",
        "layernorm",
        False,
        "bias",
        False,
    )
    assert (m.ssm.kernel, m.ssm.state_size, m.ssm.truncation) == ("ema", 16, 1024)
    assert (m.configurator.temperature_scale, m.classifier_hidden, m.dropout) == (0.3, 160, 0.1)
    o = c.optim
    assert (o.lr, o.weight_decay, o.warmup_steps, c.trainer.max_steps, c.data.batch_size) == (
        4e-3,
        1e-3,
        27_000,
        90_000,
        64,
    )
    assert (o.beta1, o.beta2, o.eps, o.clip_norm, o.warmup_init_lr, o.decay_power) == (0.9, 0.98, 1e-8, 1.0, 1e-7, 1.0)


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("model.memory_size=64", "model.memory_size", 64),
        ("optim.lr=4e-3", "optim.lr", 0.004),
        ("optim.lr=1", "optim.lr", 1.0),
        ("model.prenorm=true", "model.prenorm", True),
        ("model.ssm.truncation=null", "model.ssm.truncation", None),
        ("model.configurator.kind=always", "model.configurator.kind", "always"),
        ("data.root=/tmp/x y", "data.root", "/tmp/x y"),
    ],
)
def test_overrides_set_one_field(override, field, value):
    config = load_experiment("lra/listops_short", [override])
    for name in field.split("."):
        config = getattr(config, name)
    assert config == value
    assert type(config) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.memorysize=3", r"^model.memorysize: unknown field.*did you mean 'memory_size'\?"),
        ("model.ssm.statesize=3", r"^model.ssm.statesize: unknown field.*did you mean 'state_size'\?"),
        ("model.memory_size=0", r"^model.memory_size: 0 is not possible.*at least 1"),
        ("model.memory_size=2.5", r"^model.memory_size: 2.5 .*whole number"),
        ("model.memory_size=true", r"^model.memory_size: True .*whole number"),
        ("model.prenorm=3", r"^model.prenorm: 3 .*true or false"),
        ("model.attention=sofmax", r"^model.attention: unknown value 'sofmax' \(did you mean 'softmax'\?\)"),
        ("model.ssm.kernel=emma", r"^model.ssm.kernel: unknown kernel 'emma' \(did you mean 'ema'\?\)"),
        ("model.configurator.temperature_scale=0", r"^model.configurator.temperature_scale: 0.0 .*above 0"),
        ("model=3", r"^model: 3 is not a section"),
        ("task=listop", r"^task: unknown task 'listop' \(did you mean 'listops'\?\)"),
        ("optim.warmup_steps=1000", r"^optim.warmup_steps: 1000 .*fewer than trainer.max_steps = 1000"),
        ("trainer.devices=3", r"^data.batch_size: 64 .*multiple of trainer.devices \* trainer.accumulate = 3"),
        ("optim.beta2=1", r"^optim.beta2: 1.0 .*below 1"),
        ("nonsense", r"^nonsense: expected an override of the form key=value"),
    ],
)
def test_mistakes_are_named_in_one_line(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_experiment("lra/listops_short", [override])
    assert "\n" not in str(caught.value)


def test_choosing_another_component_drops_only_what_the_old_one_had():
    short = load_experiment("lra/listops_short", ["model.configurator.kind=always"])  # sets a temperature_scale
    assert short.model.configurator.kind == "always"
    with pytest.raises(ConfigError, match=r"^model.configurator.temperature_scale: unknown field of AlwaysConfig"):
        load_experiment(
            "lra/listops_short", ["model.configurator.kind=always", "model.configurator.temperature_scale=1"]
        )


def test_rotary_positions_need_pairs():
    with pytest.raises(ConfigError, match=r"^model.d_attention: 33 .*even"):
        load_experiment("lra/listops_short", ["model.position=rotary", "model.d_attention=33"])


def test_files_that_are_missing_broken_or_no_mapping(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"did you mean 'lra/listops_short'\?"):
        load_experiment("lra/listops_shrt")
    broken = tmp_path / "broken.yaml"
    broken.write_text("model: {layers: [}\n")
    with pytest.raises(ConfigError, match=r"broken.yaml: is not YAML"):
        load_experiment(broken)
    broken.write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_experiment(broken)


def test_a_section_left_out_still_follows_the_task(tmp_path: Path):
    path = tmp_path / "bare.yaml"
    path.write_text("task: listops\n")
    assert load_experiment(path).data == ListOpsConfig()


def test_field_types_follow_the_chosen_component():
    assert field_type(ExperimentConfig, "model.ssm.state_size", {"model": {"ssm": {"kernel": "ema"}}}) is int
    with pytest.raises(ConfigError, match=r"^model.ssm.nothing: unknown field"):
        field_type(ExperimentConfig, "model.ssm.nothing", {})
    with pytest.raises(ConfigError, match="has no field"):
        field_type(ExperimentConfig, "seed.more", {})


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_experiment("lra/listops_short").model.layers = 3
