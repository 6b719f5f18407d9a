"""Layers of every kind, small, with weights far from zero, so that every term shows in the output."""

import pytest
import torch
from torch import nn

from seqboat_lab.config import ModelConfig
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.nn.mixers import make_layer

SMALL = {
    "transformer": {"heads": 2, "ffn_ratio": 1.5},
    "local_attention": {"heads": 2, "window": 5},
    "retnet": {"heads": 2},
    "rwkv": {"heads": 2, "lora": 3},
    "hyena": {"filter_width": 8, "filter_length": 50},
    "mamba": {"state_size": 5, "head_size": 6},
    "gla": {"heads": 2, "gate_rank": 3},
    "mod": {"heads": 2, "capacity": 0.4},
}


def make_config(kind: str, **fields) -> ModelConfig:
    """Of a whole model whose layers are all of that kind."""
    settings = SMALL.get(kind, {}) | fields.pop("settings", {})
    defaults = {
        "layers": 2, "d_model": 12, "d_hidden": 16, "d_attention": 8, "memory_size": 5, "max_positions": 32,
        "dropout": 0.0, "bidirectional": False,
    }  # fmt: skip
    return ModelConfig(kind=kind, mixers={kind: MIXER_CONFIGS[kind](**settings)}, **defaults | fields)


@pytest.fixture(scope="session")
def make():
    def make(kind: str, seed: int = 0, number: int = 1, **fields) -> nn.Module:
        torch.manual_seed(seed)
        layer = make_layer(make_config(kind, **fields).layer(number), number).double().eval()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
        return layer

    return make
