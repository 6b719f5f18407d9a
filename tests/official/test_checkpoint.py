"""Checkpoints of the authors' training code become our models: same logits, safe to open, errors that name all."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.nn import Classifier, LanguageModel
from seqboat_lab.official.checkpoint import read_official_checkpoint
from seqboat_lab.official.layer import layer_from_official
from tests.official.files import (
    LISTOPS_ARGS,
    LM_ARGS,
    classifier_weights,
    language_model_weights,
    write_checkpoint,
)


def encode(x: Tensor, args: dict, model: dict[str, Tensor], prefix: str) -> Tensor:
    """Through layers that were each read as the golden cases read them."""
    lm = prefix.startswith("decoder")
    size = {k: args[f"decoder_{k}" if lm else k] for k in ("z_dim", "n_dim", "chunk_size")}
    wide = {k: args[f"{'decoder' if lm else 'encoder'}_{k}"] for k in ("embed_dim", "hidden_dim", "layers")}
    config = {
        "d_model": wide["embed_dim"], "d_hidden": wide["hidden_dim"], "d_attention": size["z_dim"],
        "ssm_state": size["n_dim"], "memory_size": size["chunk_size"], "bidirectional": not lm,
        "attention_activation": args["attention_activation_fn"], "position": args["rel_pos_bias"],
        "norm": "layernorm", "prenorm": args["normalize_before" if lm else "encoder_normalize_before"],
        "max_positions": args["max_target_positions" if lm else "max_positions"],
        "truncation": args["truncation_length"], "temperature_scale": args["init_temp_scale"],
    }  # fmt: skip
    for i in range(wide["layers"]):
        start = f"{prefix}.{i}.{'slag' if lm else 'mega'}_layer."
        theirs = {k.removeprefix(start): v for k, v in model.items() if k.startswith(start)}
        x = layer_from_official(config, {k.replace("move.", "ssm."): v for k, v in theirs.items()})(x).y
    return x


def head(features: Tensor, model: dict[str, Tensor]) -> Tensor:
    hidden = F.gelu(features @ model["classifier.0.0.weight"].T + model["classifier.0.0.bias"])
    return hidden @ model["sentence_projection_layer.weight"].T


@pytest.fixture
def made(tmp_path):
    """Writes a classifier's checkpoint and returns its path, args and weights."""

    def make(rows: int | None = 20, classes: int = 10, **fields):
        torch.manual_seed(0)
        args = {**LISTOPS_ARGS, **fields}
        model = classifier_weights(rows, classes, args)
        return write_checkpoint(tmp_path / "checkpoint_best.pt", args, model), args, model

    return make


@torch.no_grad()
def test_a_classifier_gives_the_authors_logits(made):
    path, args, weights = made()
    config, state, kind = read_official_checkpoint(path)
    ours = Classifier(config, 10, 20).eval()
    ours.load_state_dict(state)
    tokens = torch.randint(2, 20, (3, 25))
    x = weights["encoder.encoder.embed_tokens.embed.weight"][tokens]
    expected = head(encode(x, args, weights, "encoder.encoder.layers").mean(1), weights)
    torch.testing.assert_close(ours(tokens).logits, expected, atol=1e-5, rtol=1e-4)
    assert kind == "classifier"
    assert (config.memory_size, config.ssm.truncation, config.configurator.temperature_scale) == (4, 16, 0.3)


@torch.no_grad()
def test_real_valued_prenorm_classifiers_with_absolute_positions_do_too(made):
    path, args, weights = made(rows=None, encoder_normalize_before=True, add_apos=True)
    config, state, _ = read_official_checkpoint(path)
    ours = Classifier(config, 10, None).eval()
    ours.load_state_dict(state)
    pixels = torch.randn(2, 25)
    embedding = {name: weights[f"encoder.encoder.embed_tokens.{name}"] for name in ("weight", "bias")}
    angle = torch.outer(torch.arange(25.0), weights["encoder.encoder.pos_emb.inv_freq"])
    position = torch.cat([angle.sin(), angle.cos()], -1) * weights["encoder.encoder.pos_emb.scale"]
    x = pixels.unsqueeze(-1) * embedding["weight"] + embedding["bias"] + position
    x = encode(x, args, weights, "encoder.encoder.layers")
    x = F.layer_norm(x, (8,), *(weights[f"encoder.encoder.final_norm.norm.{n}"] for n in ("weight", "bias")))
    torch.testing.assert_close(ours(pixels).logits, head(x.mean(1), weights), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_pair_classifier_sees_the_authors_features(made):
    path, args, weights = made(classes=2, use_nli=True, classifier_in_dim=32)
    config, state, kind = read_official_checkpoint(path)
    assert kind == "pair"
    ours = Classifier(config, 2, 20, pair=True).eval()
    ours.load_state_dict(state)
    tokens = torch.randint(2, 20, (4, 25))  # two first documents, then their second ones
    x = encode(weights["encoder.encoder.embed_tokens.embed.weight"][tokens], args, weights, "encoder.encoder.layers")
    first, second = x.mean(1).chunk(2)
    expected = head(torch.cat([second, first, first * second, first - second], -1), weights)
    torch.testing.assert_close(ours(tokens).logits, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_language_model_gives_the_authors_logits(tmp_path):
    torch.manual_seed(0)
    weights = language_model_weights(12, LM_ARGS)
    config, state, kind = read_official_checkpoint(write_checkpoint(tmp_path / "lm.pt", LM_ARGS, weights))
    assert kind == "language_model"
    ours = LanguageModel(config, 12).eval()
    ours.load_state_dict(state)
    tokens = torch.randint(12, (2, 30))
    embedding = weights["decoder.embed_tokens.weight"]
    x = encode(8**0.5 * embedding[tokens], LM_ARGS, weights, "decoder.layers")
    expected = F.layer_norm(x, (8,)) @ embedding.T
    torch.testing.assert_close(ours(tokens).logits, expected, atol=1e-4, rtol=1e-4)


def test_always_active_and_feed_forward_models_are_read(made):
    path, args, weights = made(always_act=True, encoder_ffn_embed_dim=14)
    blocks = {"fc1.weight": (14, 8), "fc1.bias": (14,), "fc2.weight": (8, 14), "fc2.bias": (8,),
              "norm.norm.weight": (8,), "norm.norm.bias": (8,)}  # fmt: skip
    for i in range(2):
        for name, shape in blocks.items():
            weights[f"encoder.encoder.layers.{i}.nffn.{name}"] = torch.randn(shape)
    config, state, _ = read_official_checkpoint(write_checkpoint(path, args, weights))
    assert (config.configurator.kind, config.ffn_hidden) == ("always", 14)
    theirs = weights["encoder.encoder.layers.1.nffn.fc2.weight"]
    assert torch.equal(state["encoder.feed_forward.1.fc2.weight"], theirs)


def test_unexpected_and_missing_names_are_all_listed(made):
    path, args, weights = made()
    weights["encoder.encoder.layers.0.mega_layer.surprise"] = torch.zeros(1)
    weights["lm_head"] = torch.zeros(1)
    del weights["classifier.0.0.bias"], weights["encoder.encoder.layers.1.mega_layer.move.delta"]
    write_checkpoint(path, args, weights)
    with pytest.raises(ValueError, match="unexpected") as error:
        read_official_checkpoint(path)
    message = str(error.value)
    for name in ("layers.0.mega_layer.surprise", "lm_head", "hidden.bias", "encoder.layers.1.ssm.delta"):
        assert name in message
    assert "\n" not in message


def test_a_weight_of_another_shape_is_named(made):
    path, args, weights = made()
    weights["encoder.encoder.layers.0.mega_layer.h_proj.bias"] = torch.zeros(3)
    write_checkpoint(path, args, weights)
    with pytest.raises(ValueError, match=r"layers.0.attention.h_proj.bias: shape \(3,\) given, \(8,\) expected"):
        read_official_checkpoint(path)


class Malicious:
    def __reduce__(self):
        return (print, ("code was run",))


def test_a_file_that_holds_code_is_refused_without_running_it(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"args": Malicious(), "model": {}}, path)
    with pytest.raises(ValueError, match=r"evil.pt: refused .* print, which could run code"):
        read_official_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(ValueError, match="refused"):
        read_official_checkpoint(path)
    assert "code was run" not in capsys.readouterr().out


def test_files_that_are_no_such_checkpoint_are_refused(tmp_path):
    path = tmp_path / "some.pt"
    with pytest.raises(ValueError, match="no such file"):
        read_official_checkpoint(path)
    for contents, message in (
        ({"state_dict": {}}, "it has no `model`"),
        ({"model": {"a": torch.zeros(1)}, "args": {"lr": 1}}, "no `args` namespace"),
        ({"model": {"a": 1}}, "holds more than tensors"),
    ):
        torch.save(contents, path)
        with pytest.raises(ValueError, match=message):
            read_official_checkpoint(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="refused as a checkpoint"):
        read_official_checkpoint(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer_type": "mega"}, "layer_type is 'mega'; only 'slag'"),
        ({"activation_fn": "relu"}, "activation_fn is 'relu'; only 'silu'"),
        ({"rel_pos_bias": "t5"}, "rel_pos_bias is 't5'; only 'simple' or 'rotary'"),
        ({"chunk_size": -1}, "memory_size: -1"),
        ({"encoder_layers": "two"}, "args describe cannot be read"),
    ],
)
def test_models_that_ours_cannot_be_are_refused(made, fields, message):
    path, args, weights = made()
    write_checkpoint(path, {**args, **fields}, weights)
    with pytest.raises(ValueError, match=message):
        read_official_checkpoint(path)


def test_a_missing_setting_is_named(made):
    path, args, weights = made()
    del args["chunk_size"]
    write_checkpoint(path, args, weights)
    with pytest.raises(ValueError, match="'chunk_size' is missing"):
        read_official_checkpoint(path)
