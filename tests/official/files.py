"""Checkpoints in the layout of the authors' fairseq code, made up for the tests: random weights under their names."""

import argparse
from pathlib import Path

import torch
from torch import Tensor

LISTOPS_ARGS = {
    "arch": "slag_lra_listop", "task": "lra-text", "layer_type": "slag", "input_type": "text", "sen_rep_type": "mp",
    "encoder_layers": 2, "encoder_embed_dim": 8, "encoder_hidden_dim": 12, "z_dim": 6, "n_dim": 3,
    "encoder_ffn_embed_dim": -1, "chunk_size": 4, "truncation_length": 16, "max_positions": 30,
    "norm_type": "layernorm", "encoder_normalize_before": False, "rel_pos_bias": "simple", "local_pos": False,
    "attention_activation_fn": "softmax", "activation_fn": "silu", "init_temp_scale": 0.3, "always_act": False,
    "dropout": 0.1, "act_dropout": 0.0, "attention_dropout": 0.0, "add_apos": False, "use_nli": False,
    "classifier_layers": 1, "classifier_in_dim": 8, "classifier_out_dim": 10, "classifier_activation_fn": "gelu",
    "normalize_embedding": False, "feature_dropout": False, "act_bias": 0.0, "use_p": False, "lr": [0.004],
}  # fmt: skip

LM_ARGS = {
    "arch": "slag_lm_enwik8_base_v2", "task": "language_modeling",
    "decoder_layers": 2, "decoder_embed_dim": 8, "decoder_input_dim": 8, "decoder_hidden_dim": 12,
    "decoder_z_dim": 6, "decoder_n_dim": 3, "decoder_ffn_embed_dim": -1, "decoder_chunk_size": 4,
    "truncation_length": 16, "max_target_positions": 512, "normalization_type": "layernorm",
    "normalize_before": True, "no_affine_final_norm": True, "share_decoder_input_output_embed": True,
    "no_scale_embedding": False, "rel_pos_bias": "rotary", "local_pos": False, "init_temp_scale": 1.0,
    "attention_activation_fn": "softmax", "activation_fn": "silu", "dropout": 0.15, "hidden_dropout": 0.0,
    "attention_dropout": 0.0, "adaptive_input": False, "adaptive_softmax_cutoff": None,
}  # fmt: skip


def layer_weights(d: int, h: int, z: int, n: int, directions: int, table: int | None, logits: int = 2) -> dict:
    """One layer's weights under the authors' names; `table` is the length of the position bias, if any."""
    shapes = {
        "move.delta": (directions * d, n, 1), "move.alpha": (directions * d, n, 1),
        "move.beta": (directions * d, n, 1), "move.gamma": (directions * d, n), "move.omega": (d,),
        "gamma": (2, z), "beta": (2, z), "q_router.temp": (1,),
        "mx_proj.weight": (z + 2 * h, d), "mx_proj.bias": (z + 2 * h,),
        "hx_proj.weight": (logits + d, d), "hx_proj.bias": (logits + d,),
        "h_proj.weight": (d, h), "h_proj.bias": (d,), "norm.norm.weight": (d,), "norm.norm.bias": (d,),
    }  # fmt: skip
    if table is not None:
        shapes["rel_pos_bias.rel_pos_bias"] = (table,)
    if logits == 0:
        del shapes["q_router.temp"]
    return {name: 0.5 * torch.randn(shape) for name, shape in shapes.items()}


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in weights.items()}


def classifier_weights(rows: int | None, classes: int, args: dict) -> dict[str, Tensor]:
    """A whole classifier; `rows` of the embedding, or None for real-valued input."""
    d, c = args["encoder_embed_dim"], args["classifier_out_dim"]
    model = {
        "classifier.0.0.weight": 0.5 * torch.randn(c, (4 if args["use_nli"] else 1) * d),
        "classifier.0.0.bias": 0.5 * torch.randn(c),
        "sentence_projection_layer.weight": 0.5 * torch.randn(classes, c),
    }
    if rows is None:
        model |= {f"encoder.encoder.embed_tokens.{name}": torch.randn(d) for name in ("weight", "bias")}
    else:
        model["encoder.encoder.embed_tokens.embed.weight"] = torch.randn(rows, d)
    if args["add_apos"]:
        model["encoder.encoder.pos_emb.scale"] = torch.rand(1)
        model["encoder.encoder.pos_emb.inv_freq"] = 10_000.0 ** (-torch.arange(0, d, 2) / d)
    for i in range(args["encoder_layers"]):
        logits = 0 if args["always_act"] else 2
        weights = layer_weights(d, args["encoder_hidden_dim"], args["z_dim"], args["n_dim"], 2, 59, logits)
        model |= prefixed(f"encoder.encoder.layers.{i}.mega_layer", weights)
    if args["encoder_normalize_before"]:
        model |= prefixed("encoder.encoder.final_norm.norm", {"weight": torch.rand(d), "bias": torch.randn(d)})
    return model


def language_model_weights(rows: int, args: dict) -> dict[str, Tensor]:
    d = args["decoder_embed_dim"]
    embedding = torch.randn(rows, d)
    model = {
        "decoder.version": torch.tensor([3.0]),
        "decoder.embed_tokens.weight": embedding,
        "decoder.output_projection.weight": embedding.clone(),
    }
    for i in range(args["decoder_layers"]):
        weights = layer_weights(d, args["decoder_hidden_dim"], args["decoder_z_dim"], args["decoder_n_dim"], 1, None)
        model |= prefixed(f"decoder.layers.{i}.slag_layer", weights)
    return model


def write_checkpoint(path: Path, args: dict, model: dict[str, Tensor]) -> Path:
    """As fairseq writes it, with what else stands in such a file."""
    state = {
        "args": argparse.Namespace(**args),
        "model": model,
        "optimizer_history": [{"criterion_name": "LRACrossEntropyCriterion", "num_updates": 90_000}],
        "extra_state": {"train_iterator": {"epoch": 60}, "best": 61.7},
        "last_optimizer_state": {"state": {0: {"step": 90_000}}},
    }
    torch.save(state, path)
    return path
