"""Stacks whose layers are of several kinds."""

import warnings

import pytest
import torch

from seqboat_lab.config import ModelConfig
from seqboat_lab.config.configurator import AlwaysConfig, NeverConfig
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.nn import Classifier, LanguageModel, SeqBoat
from seqboat_lab.nn.models import Nothing
from tests.nn.mixers.conftest import SMALL

MIXERS = {kind: MIXER_CONFIGS[kind](**fields) for kind, fields in SMALL.items()}
ALL = [kind for kind in MIXER_CONFIGS if kind != "hyena"]


def make_config(**fields) -> ModelConfig:
    small = {"d_model": 12, "d_hidden": 16, "d_attention": 8, "memory_size": 5, "max_positions": 32, "dropout": 0.0}
    return ModelConfig(mixers=MIXERS, **small | fields)


def test_blocks_repeat_over_the_layers():
    config = make_config(layers=8, blocks=["mamba", "mega", "transformer"])
    assert config.kinds == ["mamba", "mega", "transformer"] * 2 + ["mamba", "mega"]
    assert config.deciding == [1, 4, 7]
    assert [config.layer(i).kind for i in range(8)] == config.kinds
    assert make_config(layers=2, kind="gla").kinds == ["gla", "gla"]
    assert make_config(kind="cnn").kinds == []


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [False, True])
def test_mega_and_ssm_compute_what_always_and_never_do(bidirectional):
    x = torch.randn(2, 50, 12)
    fields = {"layers": 1, "bidirectional": bidirectional, "ffn_hidden": 7}
    torch.manual_seed(0)
    mega, always = (
        SeqBoat(make_config(kind="mega", **fields)),
        SeqBoat(make_config(configurator=AlwaysConfig(), **fields)),
    )
    always.load_state_dict(mega.state_dict())
    assert torch.equal(mega(x)[0], always(x)[0])
    ssm, never = SeqBoat(make_config(kind="ssm", **fields)), SeqBoat(make_config(configurator=NeverConfig(), **fields))
    weights = {name.replace("skip_proj", "hx_proj"): value for name, value in ssm.state_dict().items()}
    missing, unexpected = never.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert all(".attention." in name for name in missing)
    torch.testing.assert_close(ssm(x)[0], never(x)[0])


def test_layers_that_bring_a_feed_forward_part_have_no_other_behind_them():
    model = SeqBoat(make_config(layers=3, blocks=["seqboat", "transformer", "ssm"], ffn_hidden=7))
    assert [isinstance(block, Nothing) for block in model.feed_forward] == [False, True, False]


def test_a_stack_with_prenorm_residual_layers_ends_with_a_norm():
    assert SeqBoat(make_config(blocks=["mega", "ssm"])).final_norm is None
    assert SeqBoat(make_config(blocks=["mega", "mamba"])).final_norm is not None


@torch.no_grad()
def test_a_hybrid_language_model_steps_as_it_reads():
    torch.manual_seed(0)
    model = LanguageModel(make_config(layers=len(ALL), blocks=ALL, bidirectional=False), 7).double().eval()
    tokens = torch.randint(7, (2, 90))
    whole = model(tokens)
    assert len(whole.activations) == 3  # seqboat, mega, mod
    with pytest.warns(UserWarning, match="^mod and transformer layers stream with a cache .* grows with every token"):
        state = model.init_state(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.init_state(2)
    first = model(tokens[:, :40], state)
    torch.testing.assert_close(first.logits, whole.logits[:, :40], rtol=1e-9, atol=1e-9)
    state = first.state
    for t in range(40, 90):
        logits, decisions, state = model.step(tokens[:, t], state)
        torch.testing.assert_close(logits, whole.logits[:, t], rtol=1e-9, atol=1e-9)
        for decision, activation in zip(decisions, whole.activations, strict=True):
            assert torch.equal(decision.active, activation.active[:, t])


@pytest.mark.parametrize("pair", [False, True])
def test_a_hybrid_classifier_reads_padded_rows_alone(pair):
    torch.manual_seed(0)
    model = (
        Classifier(make_config(layers=len(MIXER_CONFIGS), blocks=list(MIXER_CONFIGS)), 3, 7, pair=pair).double().eval()
    )
    inputs = torch.randint(1, 7, (4, 30))
    padding = torch.arange(30) >= torch.tensor([30, 11, 5, 22]).unsqueeze(1)
    logits = model(inputs, padding).logits
    for i in range(2 if pair else 4):
        rows = [i, i + 2] if pair else [i]
        longest = 30 - int(padding[rows].sum(1).min())
        alone = model(inputs[rows, :longest], padding[rows, :longest]).logits
        torch.testing.assert_close(logits[i], alone[0], rtol=1e-9, atol=1e-9)
