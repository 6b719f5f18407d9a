"""The shapes that are measured: one layer of an authors' recipe with a given share of active tokens."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks.measure import DEVICE
from benchmarks.textbook import TextbookLayer
from seqboat_lab.config import ConfigError, ModelConfig
from seqboat_lab.config.configurator import AlwaysConfig, NeverConfig
from seqboat_lab.config.mixers import MIXER_CONFIGS, SeqBoatMixerConfig
from seqboat_lab.nn import SeqBoatLayer

LISTOPS = ModelConfig(
    layers=1, d_model=80, d_hidden=160, d_attention=64, memory_size=128, max_positions=2048, dropout=0.0
)  # fmt: skip
IMAGE = ModelConfig(
    layers=1, d_model=160, d_hidden=320, d_attention=96, memory_size=128, max_positions=1024, attention="relu2",
    norm="batchnorm", prenorm=True, dropout=0.0,
)  # fmt: skip
PATHX = replace(IMAGE, d_model=128, d_hidden=256, d_attention=64, memory_size=256, max_positions=16384)
ENWIK8 = ModelConfig(
    layers=1, d_model=616, d_hidden=1232, d_attention=128, memory_size=1024, bidirectional=False, position="rotary",
    prenorm=True, dropout=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One layer, one batch."""

    config: ModelConfig
    batch: int
    length: int
    rate: float
    """Share of active tokens."""


CASES = {
    "listops": Case(LISTOPS, 8, 2048, 0.5),
    "image": Case(IMAGE, 8, 1024, 0.5),
    "image-10%": Case(IMAGE, 8, 1024, 0.1),
    "image-100%": Case(IMAGE, 8, 1024, 1.0),
    "pathx": Case(PATHX, 1, 8192, 0.3),
    "pathx-16k": Case(PATHX, 1, 16384, 0.3),
    "enwik8": Case(ENWIK8, 1, 8192, 0.3),
    "long": Case(PATHX, 1, 131_072, 0.3),
    **{
        f"{length // 1024}k-{rate:.0%}": Case(PATHX, 1, length, rate)
        for length in (1024, 4096, 16384, 65536)
        for rate in (0.1, 0.5, 1.0)
    },
}


def layer_and_input(case: Case) -> tuple[SeqBoatLayer, Tensor]:
    """A layer that activates the wanted share of the tokens of x (B, L, d)."""
    torch.manual_seed(0)
    layer = SeqBoatLayer(case.config).to(DEVICE)
    x = torch.randn(case.batch, case.length, case.config.d_model, device=DEVICE, requires_grad=True)
    with torch.no_grad():
        layer.hx_proj.weight[:2].normal_()
        logits = {}
        hook = layer.hx_proj.register_forward_hook(lambda m, i, out: logits.update(u=out[..., :2]))
        layer(x)
        hook.remove()
        evidence = (logits["u"][..., 1] - logits["u"][..., 0]).flatten().sort().values
        inactive = round((1 - case.rate) * len(evidence))
        layer.hx_proj.bias[1] -= evidence[inactive - 1] if inactive else evidence[0] - 1
    return layer, x


def variant(kind: str, layer: SeqBoatLayer) -> nn.Module:
    """`ours` (or one of its backends), `textbook`, `transformer` (same width, torch's), `never` or `always` active."""
    c = layer.config
    if kind == "ours":
        return layer
    if kind == "textbook":
        return TextbookLayer(layer)
    if kind == "transformer":
        heads = max(1, c.d_model // 64)
        while c.d_model % heads:
            heads -= 1
        other = nn.TransformerEncoderLayer(c.d_model, heads, 2 * c.d_hidden, dropout=0.0, batch_first=True)
    elif kind in ("matmul", "chunks", "sdpa"):
        other = SeqBoatLayer(replace(c, attention_backend=kind))
        other.load_state_dict(layer.state_dict())
    else:
        other = SeqBoatLayer(replace(c, configurator={"never": NeverConfig, "always": AlwaysConfig}[kind]()))
    return other.to(DEVICE)


def mixer_config(kind: str, case: Case) -> ModelConfig:
    """One layer of another kind at the case's width: heads of about 64 channels as far as they divide it, all else as
    in its paper; seqboat, mega and ssm as the case has them."""
    settings = MIXER_CONFIGS[kind]()
    if isinstance(settings, SeqBoatMixerConfig):
        return replace(case.config, kind=kind)
    for heads in range(max(1, case.config.d_model // 64), 0, -1):
        for size in (64, 32, 16, 8):
            given = {"heads": heads, "head_size": size}
            fits = replace(settings, **{name: value for name, value in given.items() if hasattr(settings, name)})
            try:
                return replace(case.config, norm="layernorm", kind=kind, mixers={kind: fits})
            except ConfigError:
                continue
    raise AssertionError(f"no heads of {kind} divide {case.config.d_model}")


def training_step(module: nn.Module, x: Tensor) -> None:
    """Forward and backward with a gradient of ones."""
    out = module(x)
    y = getattr(out, "y", out)
    module.zero_grad()
    x.grad = None
    y.backward(torch.ones_like(y))


def matmul_flops(case: Case) -> float:
    """What the layer must multiply in forward and backward: projections, and scores and values of every allowed
    pair of query and key; no padding, no tiles, no SSM."""
    c = case.config
    tokens = case.batch * case.length
    active, per_row = case.rate * tokens, case.rate * case.length
    w = min(c.memory_size, per_row)
    keys = (2 if c.bidirectional else 1) * (w - w * w / (2 * per_row)) + 1  # fewer at the ends of a row
    per_active = c.d_model * (c.d_attention + 2 * c.d_hidden) + c.d_hidden * c.d_model
    attention = keys * (c.d_attention + c.d_hidden)
    return 3 * 2 * (tokens * c.d_model * (c.d_model + 2) + active * (per_active + attention))
