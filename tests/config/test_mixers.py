"""`model.kind`, `model.blocks` and `model.mixers`: what a stack is made of, and what cannot be."""

import pytest
import yaml

from seqboat_lab.config import ConfigError, ExperimentConfig, load_experiment
from seqboat_lab.config.files import build, field_type, to_dict
from seqboat_lab.config.mixers import MambaConfig, TransformerConfig


def test_settings_by_kind_are_read_merged_and_written(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("task: listops\nmodel: {blocks: [mamba, transformer], mixers: {mamba: {state_size: 8, conv: 3}}}\n")
    config = load_experiment(file, ["model.mixers.mamba.state_size=16", "model.layers=4"])
    assert config.model.mixers == {"mamba": MambaConfig(state_size=16, conv=3)}
    assert config.model.settings("transformer") == TransformerConfig()
    assert build(ExperimentConfig, yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


def test_a_search_finds_the_type_of_a_mixers_field():
    values = to_dict(load_experiment("lra/listops_short"))
    assert field_type(ExperimentConfig, "model.mixers.mamba.state_size", values) is int
    with pytest.raises(ConfigError, match=r"state_sise.*did you mean 'state_size'"):
        field_type(ExperimentConfig, "model.mixers.mamba.state_sise", values)


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (["model.kind=mambo"], r"^model.kind: unknown encoder 'mambo' \(did you mean 'mamba'"),
        (["model.blocks=[mambo]"], r"^model.blocks.0: unknown mixer 'mambo' \(did you mean 'mamba'"),
        (["model.mixers.mambo.conv=3"], r"^model.mixers.mambo: unknown mixer 'mambo' \(did you mean 'mamba'"),
        (["model.mixers.mamba.heads=3"], r"^model.mixers.mamba.heads: unknown field .*did you mean 'head_size'"),
        (["model.mixers.mamba.conv=1"], r"^model.mixers.mamba.conv: 1 .* at least 2"),
        (["model.mixers.mamba=3"], r"^model.mixers.mamba: 3 is not a section"),
        (["model.mixers=3"], r"^model.mixers: 3 .* a mapping"),
        (["model.blocks=mamba"], r"^model.blocks: 'mamba' .* a list"),
        (["model.blocks=[ssm, ssm, ssm]"], r"^model.layers: 2 .* at least the 3 of model.blocks"),
        (["model.blocks=[ssm]", "model.kind=bag"], r"^model.blocks: .* none, since kind is 'bag'"),
        (["model.kind=transformer", "model.mixers.transformer.heads=5"], r"^model.mixers.transformer.heads: 5 .* a divisor of d_model = 64"),
        (["model.kind=retnet", "model.mixers.retnet.heads=64"], r"^model.mixers.retnet.heads: 64 .* an even width of d_model = 64"),
        (["model.kind=gla", "model.mixers.gla.heads=64"], r"^model.mixers.gla.heads: 64 .* a divisor of d_model / 2"),
        (["model.kind=mamba", "model.by_layer.0.memory_size=3"], r"^model.by_layer: 0 .* since mamba has no such layers"),
        (["model.kind=mega", "model.by_layer.0.configurator=never"], r"^model.by_layer.0.configurator: .* since mega has its own"),
        (["model.mixers.mod.capacity=2"], r"^model.mixers.mod.capacity: 2.0 .* from 0 to 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_key(overrides, error):
    with pytest.raises(ConfigError, match=error):
        load_experiment("lra/listops_short", overrides)


@pytest.mark.parametrize(
    ("kind", "why"), [("transformer", "a cache that grows"), ("mod", "a cache that grows"), ("hyena", "no state")]
)
def test_state_that_cannot_be_carried_is_refused(kind, why):
    with pytest.raises(ConfigError, match=rf"^data.carry_state: True .* false, since {kind} has {why}"):
        load_experiment("text_tiny", [f"model.blocks=[ssm, {kind}]", "data.carry_state=true"])


def test_a_language_model_is_a_stack(tmp_path, monkeypatch):
    (tmp_path / "an_encoder.py").write_text(
        "from seqboat_lab.config import EncoderConfig\nclass Encoder:\n    Config = EncoderConfig\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"^model.kind: 'an_encoder:Encoder' .* a kind of layer \(seqboat, mega, "):
        load_experiment("text_tiny", ["model.kind=an_encoder:Encoder"])
