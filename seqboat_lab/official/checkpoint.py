"""Reads fairseq checkpoints of the authors' training code (github.com/renll/SeqBoat) into our models.

Such a file holds `args` (an argparse namespace: architecture and training settings) and `model` (the weights).
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from seqboat_lab.config.configurator import AlwaysConfig, TemperedSoftmaxConfig
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import EMAConfig
from seqboat_lab.nn.attention import ATTENTION_FUNCTIONS
from seqboat_lab.nn.models import Classifier, LanguageModel
from seqboat_lab.nn.norms import NORMS
from seqboat_lab.official.layer import our_name

Head = Literal["classifier", "pair", "language_model"]


class OfficialModel(NamedTuple):
    """A checkpoint in our terms."""

    config: ModelConfig
    state_dict: dict[str, Tensor]
    """Of our `Classifier` or `LanguageModel`; embedding rows in the order of the authors' dictionary."""
    head: Head


def read_official_checkpoint(path: str | Path) -> OfficialModel:
    """Architecture and weights of a checkpoint, with every name and shape checked.

    Nothing in the file is executed: torch's weights-only loader reads tensors, plain data and
    `argparse.Namespace`, and nothing else.

    Raises:
        ValueError: the file is not such a checkpoint, describes a model that ours cannot be, or its weights do
            not fit; lists all unexpected and missing names.
    """
    checkpoint = _load(path)
    args, weights = checkpoint["args"], dict(checkpoint["model"])
    is_lm = any(name.startswith("decoder.") for name in weights)
    try:
        config = (_language_model_config if is_lm else _classifier_config)(_Settings(args))
    except (TypeError, ValueError) as error:  # TypeError: a setting of another type than the authors' code gives it
        raise ValueError(f"{path}: the model its args describe cannot be read: {error}") from None
    head: Head = "language_model" if is_lm else "pair" if getattr(args, "use_nli", False) else "classifier"
    _drop_derived(weights)
    named = {theirs: _our_model_name(theirs, config.norm) for theirs in weights}
    state = {ours: weights[theirs] for theirs, ours in named.items() if ours is not None}
    expected = _build(config, head, state).state_dict()

    unexpected = sorted(theirs for theirs, ours in named.items() if ours not in expected)
    missing = sorted(set(expected) - set(state))
    if unexpected or missing:
        raise ValueError(f"{path}: weights do not fit: unexpected {unexpected or 'none'}, missing {missing or 'none'}")
    for name, value in state.items():
        if value.numel() != expected[name].numel():
            shapes = f"shape {tuple(value.shape)} given, {tuple(expected[name].shape)} expected"
            raise ValueError(f"{path}: {name}: {shapes}")
        state[name] = value.to(expected[name].dtype).reshape(expected[name].shape)  # (channels, N, 1), fp16
    if head == "pair":  # theirs ends in first document minus second, ours in second minus first
        d = config.d_model
        sign = torch.ones(4 * d)
        sign[3 * d :] = -1
        state["hidden.weight"] = state["hidden.weight"] * sign
    return OfficialModel(config, state, head)


def _load(path: str | Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many types for damaged and for refused files
        refused = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
        lines = str(error).splitlines() or [type(error).__name__]
        reason = f"it holds {refused[1]}, which could run code" if refused else lines[0][:200]
        raise ValueError(f"{path}: refused as a checkpoint: {reason}") from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model"), Mapping):
        raise ValueError(f"{path}: not a fairseq checkpoint: it has no `model`")
    if not all(isinstance(value, Tensor) for value in checkpoint["model"].values()):
        raise ValueError(f"{path}: not a fairseq checkpoint: its `model` holds more than tensors")
    if not isinstance(checkpoint.get("args"), argparse.Namespace):
        raise ValueError(f"{path}: not a checkpoint of the authors' code: it has no `args` namespace")
    return checkpoint


class _Settings:
    """Reads `args`, and says which setting is missing or impossible."""

    def __init__(self, args: argparse.Namespace):
        self.args = args

    def __call__(self, name: str, *default: Any) -> Any:
        if not default and not hasattr(self.args, name):
            raise ValueError(f"{name!r} is missing")
        return getattr(self.args, name, *default)

    def must(self, name: str, *allowed: Any) -> None:
        """The setting has one of the values that our model reproduces; it may be missing."""
        value = self(name, allowed[0])
        if value not in allowed:
            possible = " or ".join(map(repr, allowed))
            raise ValueError(f"{name} is {value!r}; only {possible} is possible here")


def _classifier_config(args: _Settings) -> ModelConfig:
    for name, *allowed in (
        ("layer_type", "slag"), ("sen_rep_type", "mp"), ("classifier_layers", 1), ("classifier_activation_fn", "gelu"),
        ("normalize_embedding", False), ("feature_dropout", False), ("act_bias", 0), ("use_p", False),
    ):  # fmt: skip
        args.must(name, *allowed)
    args.must("norm_type", *NORMS)
    return ModelConfig(
        d_model=args("encoder_embed_dim"),
        d_hidden=args("encoder_hidden_dim"),
        d_attention=args("z_dim"),
        layers=args("encoder_layers"),
        memory_size=args("chunk_size"),
        bidirectional=True,
        norm=args("norm_type"),
        prenorm=args("encoder_normalize_before"),
        max_positions=args("max_positions"),
        ssm=EMAConfig(state_size=args("n_dim"), truncation=args("truncation_length", None)),
        hidden_dropout=args("act_dropout", 0.0),
        ffn_hidden=_ffn_hidden(args("encoder_ffn_embed_dim", -1)),
        absolute_position=args("add_apos", False),
        classifier_hidden=args("classifier_out_dim"),
        **_shared(args),
    )


def _language_model_config(args: _Settings) -> ModelConfig:
    for name, *allowed in (
        ("share_decoder_input_output_embed", True), ("no_affine_final_norm", True), ("normalize_before", True),
        ("normalization_type", "layernorm"), ("no_scale_embedding", False), ("adaptive_input", False),
        ("adaptive_softmax_cutoff", None), ("normalize_embedding", False), ("feature_dropout", False),
    ):  # fmt: skip
        args.must(name, *allowed)
    args.must("decoder_input_dim", args("decoder_embed_dim"))
    return ModelConfig(
        d_model=args("decoder_embed_dim"),
        d_hidden=args("decoder_hidden_dim"),
        d_attention=args("decoder_z_dim"),
        layers=args("decoder_layers"),
        memory_size=args("decoder_chunk_size"),
        bidirectional=False,
        norm=args("normalization_type"),
        prenorm=True,
        max_positions=args("max_target_positions"),
        ssm=EMAConfig(state_size=args("decoder_n_dim"), truncation=args("truncation_length", None)),
        hidden_dropout=args("hidden_dropout", 0.0),
        ffn_hidden=_ffn_hidden(args("decoder_ffn_embed_dim", -1)),
        **_shared(args),
    )


def _shared(args: _Settings) -> dict[str, Any]:
    """Fields that both kinds of models name alike."""
    args.must("activation_fn", "silu")
    args.must("attention_activation_fn", *ATTENTION_FUNCTIONS)
    args.must("rel_pos_bias", "simple", "rotary")
    simple = "local" if args("local_pos", False) else "bias"
    learned = TemperedSoftmaxConfig(temperature_scale=args("init_temp_scale"))
    return {
        "attention": args("attention_activation_fn"),
        "position": simple if args("rel_pos_bias", "simple") == "simple" else "rotary",
        "configurator": AlwaysConfig() if args("always_act", False) else learned,
        "dropout": args("dropout"),
    }


def _ffn_hidden(width: int | None) -> int | None:
    return width if width is not None and width > 0 else None


def _drop_derived(weights: dict[str, Tensor]) -> None:
    """Takes out what follows from other entries: format version, sinusoid frequencies, tied output weights."""
    weights.pop("decoder.version", None)
    weights.pop("encoder.encoder.pos_emb.inv_freq", None)
    tied, embedding = "decoder.output_projection.weight", weights.get("decoder.embed_tokens.weight")
    if tied in weights and embedding is not None and torch.equal(weights[tied], embedding):
        del weights[tied]


MODEL_NAMES = {
    "embed_tokens.embed.weight": "embedding.weight",
    "embed_tokens.weight": "embedding.weight",
    "embed_tokens.bias": "embedding.bias",
    "pos_emb.scale": "position.scale",
    "classifier.0.0.weight": "hidden.weight",
    "classifier.0.0.bias": "hidden.bias",
    "sentence_projection_layer.weight": "output.weight",
}
"""The authors' names outside the layers (left) and ours."""


def _our_model_name(theirs: str, norm: str) -> str | None:
    """Our name of a weight of the authors' whole model, or None if our models have none such."""
    name = re.sub(r"^(encoder\.encoder|decoder)\.", "", theirs)
    if layer := re.fullmatch(r"layers\.(\d+)\.(?:mega_layer|slag_layer)\.(.+)", name):
        ours = our_name(re.sub(r"^move\.", "ssm.", layer[2]), norm)
        return None if ours is None else f"encoder.layers.{layer[1]}.{ours}"
    if block := re.fullmatch(r"layers\.(\d+)\.nffn\.(fc[12]\.\w+|norm\.norm\..+)", name):
        ours = our_name(block[2], norm) if block[2].startswith("norm.") else block[2]
        return f"encoder.feed_forward.{block[1]}.{ours}"
    if name.startswith("final_norm.norm."):
        return f"encoder.final_{our_name(name.removeprefix('final_'), norm)}"
    return MODEL_NAMES.get(name)


def _build(config: ModelConfig, head: Head, state: Mapping[str, Tensor]) -> Classifier | LanguageModel:
    """Our model with as many tokens and classes as the weights have; shapes only."""
    embedding, output = state.get("embedding.weight"), state.get("output.weight")
    vocabulary = len(embedding) if embedding is not None and embedding.dim() == 2 else None
    with torch.device("meta"):
        if head == "language_model":
            return LanguageModel(config, vocabulary or 1)
        return Classifier(config, 1 if output is None else len(output), vocabulary, pair=head == "pair")
