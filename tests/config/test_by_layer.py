"""`model.by_layer`: one layer's own fields, checked with its number, and reachable by dotted keys."""

import pytest
import yaml

from seqboat_lab.config import ConfigError, ExperimentConfig, ModelConfig, load_experiment
from seqboat_lab.config.configurator import NeverConfig, TemperedSoftmaxConfig
from seqboat_lab.config.files import build, field_type, to_dict
from seqboat_lab.config.model import LayerConfig
from seqboat_lab.config.ssm import S4DConfig


def experiment(*overrides: str) -> ExperimentConfig:
    return load_experiment("lra/listops_short", overrides)


def test_a_layer_has_its_own_fields_and_the_models_elsewhere():
    model = experiment(
        "model.by_layer={0: {configurator: {kind: never}}}", "model.by_layer.1.memory_size=3",
        "model.by_layer.1.ssm.kernel=s4d", "model.by_layer.1.confidence_on=output_and_value",
    ).model  # fmt: skip
    first, second = model.layer(0), model.layer(1)
    assert first.configurator == NeverConfig()
    assert (first.memory_size, first.ssm, first.confidence_on) == (32, model.ssm, "output")
    assert isinstance(second.configurator, TemperedSoftmaxConfig)
    assert second.configurator == model.configurator
    assert (second.memory_size, second.ssm, second.confidence_on) == (3, S4DConfig(), "output_and_value")
    assert first.by_layer == second.by_layer == {}


def test_dotted_keys_go_on_from_what_a_file_says(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("task: listops\nmodel: {by_layer: {0: {memory_size: 3, d_hidden: 8}, 1: {d_attention: 4}}}\n")
    model = load_experiment(file, ["model.by_layer.0.memory_size=5"]).model
    assert model.by_layer == {0: LayerConfig(memory_size=5, d_hidden=8), 1: LayerConfig(d_attention=4)}


def test_a_config_is_read_back_as_it_was_written():
    config = experiment("model.by_layer={1: {memory_size: 3, configurator: {kind: random, rate: 0.2}}}")
    assert build(ExperimentConfig, yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config
    assert ModelConfig().by_layer == {}


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("model.by_layer.0.memry_size=4", r"^model.by_layer.0.memry_size: unknown field .*did you mean 'memory_size'"),
        ("model.by_layer.0.configurator.kind=nevr", r"^model.by_layer.0.configurator.kind: .*did you mean 'never'"),
        ("model.by_layer.1.configurator={kind: random, rat: 1}", r"configurator.rat: .*did you mean 'rate'"),
        ("model.by_layer.2.memory_size=4", r"^model.by_layer.2: 2 .* of the 2 layers, from 0 to 1"),
        ("model.by_layer.first.memory_size=4", r"^model.by_layer.first: 'first' .* a whole number from 0"),
        ("model.by_layer.0.memory_size=0", r"^model.by_layer.0.memory_size: 0 .* at least 1"),
        ("model.by_layer.0.memory_size=many", r"^model.by_layer.0.memory_size: 'many' .* a whole number"),
        ("model.by_layer={0: {position: rotary, d_attention: 3}}", r"^model.by_layer.0.d_attention: 3 .* an even"),
        ("model.by_layer=3", r"^model.by_layer: 3 .* a mapping"),
        ("model.by_layer.0=3", r"^model.by_layer.0: 3 is not a section"),
    ],
)
def test_what_cannot_be_is_refused_with_the_layers_key(override, error):
    with pytest.raises(ConfigError, match=error):
        experiment(override)


def test_the_sanity_models_have_no_layers_of_their_own():
    with pytest.raises(ConfigError, match=r"model.by_layer: .* bag has no such layers"):
        experiment("model.kind=bag", "model.by_layer.0.memory_size=3")


@pytest.mark.parametrize("config", [experiment(), experiment("model.by_layer.0.d_hidden=4")])
def test_a_search_finds_the_type_of_a_layers_field(config):
    def kind(key):
        return field_type(ExperimentConfig, key, to_dict(config))

    assert kind("model.by_layer.0.memory_size") == int | None
    assert kind("model.by_layer.1.attention") == LayerConfig.__annotations__["attention"]
    with pytest.raises(ConfigError, match=r"model.by_layer.0.memry_size: .*did you mean 'memory_size'"):
        kind("model.by_layer.0.memry_size")
