"""Reads layers of the authors' released code into ours."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqboat_lab.config.configurator import TemperedSoftmaxConfig
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import EMAConfig
from seqboat_lab.nn.layer import SeqBoatLayer

LAYER_NAMES = {
    "ssm.delta": "ssm.delta",
    "ssm.alpha": "ssm.alpha",
    "ssm.beta": "ssm.beta",
    "ssm.gamma": "ssm.gamma",
    "ssm.omega": "ssm.omega",
    "gamma": "attention.gamma",
    "beta": "attention.beta",
    "rel_pos_bias.rel_pos_bias": "attention.position.table",
    "q_router.temp": "configurator.log_temperature",
    "mx_proj.weight": "attention.mx_proj.weight",
    "mx_proj.bias": "attention.mx_proj.bias",
    "hx_proj.weight": "hx_proj.weight",
    "hx_proj.bias": "hx_proj.bias",
    "h_proj.weight": "attention.h_proj.weight",
    "h_proj.bias": "attention.h_proj.bias",
    "norm.norm.scalar": "norm.scalar",
}
"""The authors' names of a layer's parameters (left) and ours."""


def our_name(theirs: str, norm: str) -> str | None:
    """Our name of the authors' layer parameter, or None if a layer has none such."""
    if theirs.startswith("norm.norm.") and theirs != "norm.norm.scalar":
        middle = "norm." if norm in ("batchnorm", "syncbatchnorm") else ""
        return f"norm.{middle}{theirs.removeprefix('norm.norm.')}"
    return LAYER_NAMES.get(theirs)


def layer_from_official(config: Mapping[str, Any], params: Mapping[str, Any]) -> SeqBoatLayer:
    """A layer with the authors' hyperparameters and weights.

    Args:
        config: their layer's settings, as in a golden case: d_model, d_hidden, d_attention, ssm_state,
            memory_size, bidirectional, attention_activation, position ("simple", "local", "rotary"), norm,
            prenorm, max_positions, truncation, temperature_scale.
        params: their parameter names (without prefix) to arrays or tensors.

    Returns:
        The layer in evaluation mode, without dropout.

    Raises:
        ValueError: a parameter that a layer does not have, or one that is missing or of another shape.
    """
    ours = ModelConfig(
        layers=1,
        d_model=config["d_model"],
        d_hidden=config["d_hidden"],
        d_attention=config["d_attention"],
        memory_size=config["memory_size"],
        bidirectional=config["bidirectional"],
        attention=config["attention_activation"],
        position={"simple": "bias"}.get(config["position"], config["position"]),
        max_positions=config["max_positions"],
        norm=config["norm"],
        prenorm=config["prenorm"],
        ssm=EMAConfig(state_size=config["ssm_state"], truncation=config["truncation"]),
        configurator=TemperedSoftmaxConfig(temperature_scale=config["temperature_scale"]),
        dropout=0.0,
    )
    layer = SeqBoatLayer(ours)
    load_official(layer, params, ours.norm)
    return layer.eval()


def load_official(layer: SeqBoatLayer, params: Mapping[str, Any], norm: str) -> None:
    """Copies the authors' parameters into `layer`; raises `ValueError` listing what does not fit."""
    expected = layer.state_dict()
    named = {theirs: our_name(theirs, norm) for theirs in params}
    unknown = sorted(theirs for theirs, ours in named.items() if ours not in expected)
    missing = sorted(set(expected) - set(named.values()))
    if unknown or missing:
        raise ValueError(f"official layer does not fit: unexpected {unknown or 'none'}, missing {missing or 'none'}")
    loaded: dict[str, Tensor] = {}
    for theirs, ours in named.items():
        assert ours is not None  # it would be among the unknown
        value = torch.as_tensor(params[theirs])
        if value.numel() != expected[ours].numel():
            raise ValueError(f"{theirs}: shape {tuple(value.shape)} given, {tuple(expected[ours].shape)} expected")
        loaded[ours] = value.reshape(expected[ours].shape)  # (channels, N, 1) -> (channels, N)
    layer.load_state_dict(loaded)
