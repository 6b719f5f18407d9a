"""What a model costs by its shape: floating-point operations per token and parameters, part by part.

FLOPs are those of one forward pass of the layers as they are executed (2 per multiply-add): every matrix
product over tokens, counted as torch's FlopCounterMode counts it, with the windows of attention rounded up to
tiles and the kernels' scans cut into chunks; and, where a kernel needs them, its FFTs (2.5 n log2 n each) and
its elementwise scan, which FlopCounterMode does not see. Left out: embedding and classifier (which works once per
sequence, while a language model's head reads every token and counts), norms and activation functions, and what is
done once per batch whatever its size, such as building an SSM's kernel.

A training step costs the forward and the backward pass, not the optimiser's update: of a matrix product three times as
much, since each of its two factors has a gradient (see `FLOPs` for what is otherwise).
"""

from collections.abc import Sequence

from torch import nn

from seqboat_lab.config.configurator import (
    CONFIGURATOR_CONFIGS,
    AlwaysConfig,
    AnyConfiguratorConfig,
    CapacityConfig,
    EveryKthConfig,
    NeverConfig,
    RandomConfig,
)
from seqboat_lab.config.mixers import ModConfig, SeqBoatMixerConfig
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn.feed_forward import FeedForward
from seqboat_lab.nn.layer import SeqBoatLayer
from seqboat_lab.nn.mixers import Block, layer_flops
from seqboat_lab.nn.mixers.mod import ModLayer
from seqboat_lab.nn.mixers.ssm import SSMLayer
from seqboat_lab.nn.models import LanguageModel
from seqboat_lab.nn.ssm.base import FLOPs
from seqboat_lab.nn.tiling import tile_size

PARTS = ("ssm", "router", "skip", "gau", "mixer", "ffn", "head")
"""State space model; router logits; skip path; gated attention of the active tokens; what other kinds of layers mix
with; feed-forward block; a language model's head, whose weights are those of its embedding."""


def cost_per_token(
    config: ModelConfig, length: int, activation_rates: Sequence[float], vocabulary: int = 0, training: bool = False
) -> dict[str, float]:
    """FLOPs of a forward pass per token, over all layers: {part: FLOPs, ..., "total": FLOPs}.

    Args:
        length: tokens per sequence.
        activation_rates: one per layer that decides (`config.deciding`), from 0 to 1.
        vocabulary: logits of a language model; 0 = it is none.
        training: of a forward and a backward pass.
    """
    d, parts = config.d_model, dict.fromkeys(PARTS, 0.0)
    rates = dict(zip(config.deciding, activation_rates, strict=True))

    def add(part: str, flops: FLOPs) -> None:
        parts[part] += flops.training if training else flops.forward

    add("head", FLOPs(2.0 * d * vocabulary, 0.0))
    for i in range(config.layers):
        layer = config.layer(i)
        if not isinstance(layer.mixer, SeqBoatMixerConfig):
            for part, flops in layer_flops(layer, length, rates.get(i, 0.0)).items():
                add(part, flops)
            continue
        add("ssm", SSM_CONFIGS.implementation(layer.ssm.kernel).flops(layer.ssm, d, config.bidirectional, length))
        add("skip", FLOPs(2.0 * d * d, 0.0))
        add("ffn", FLOPs(4.0 * d * (config.ffn_hidden or 0), 0.0))
        if i in rates:
            logits = CONFIGURATOR_CONFIGS.implementation(layer.configurator.kind).logits
            add("router", FLOPs(2.0 * d * logits, 0.0))
            add("gau", FLOPs(rates[i] * attention_flops(layer), 0.0))
    return {**parts, "total": sum(parts.values())}


def attention_flops(config: ModelConfig) -> int:
    """FLOPs of one layer's gated attention unit for each active token."""
    d, h, z = config.d_model, config.d_hidden, config.d_attention
    return 2 * (d * (z + 2 * h) + h * d + keys_per_query(config) * (z + h))


def keys_per_query(config: ModelConfig) -> int:
    """Keys that attention multiplies a query with: its tile's and a window on each side it may read."""
    return tile_size(config.memory_size) + config.memory_size * (2 if config.bidirectional else 1)


def count_parameters(model: nn.Module) -> int:
    """Weights that can have an effect: the attention of a layer that never activates has none."""
    layers = [module for module in model.modules() if isinstance(module, SeqBoatLayer)]
    return _size(model) - sum(_size(layer.attention) for layer in layers if not _attends(layer))


def fixed_rate(config: AnyConfiguratorConfig) -> float | None:
    """The activation rate of a configurator that does not look at its input, up to a position's rounding; else None."""
    if isinstance(config, EveryKthConfig):
        return 1 / config.k
    if isinstance(config, RandomConfig):
        return config.rate
    return {AlwaysConfig: 1.0, NeverConfig: 0.0}.get(type(config))


def fixed_rate_of(layer: ModelConfig) -> float | None:
    """The same of a layer's configuration (`ModelConfig.layer`): mixers that decide look at their input."""
    return fixed_rate(layer.configurator) if isinstance(layer.mixer, SeqBoatMixerConfig) else None


def expected_rates(config: ModelConfig, asked: float | None = None, otherwise: float = 0.5) -> list[float]:
    """The activation rate to count with in each layer that decides: the only one it can have, else the one `asked`
    for, else the one that its settings are to reach (`capacity`), else `otherwise`: it is learnt, and not yet known."""

    def rate(layer: ModelConfig) -> float:
        if (fixed := fixed_rate_of(layer)) is not None:
            return fixed
        if asked is not None:
            return asked
        if isinstance(layer.mixer, ModConfig):
            return layer.mixer.capacity
        if isinstance(layer.mixer, SeqBoatMixerConfig) and isinstance(layer.configurator, CapacityConfig):
            return layer.configurator.rate
        return otherwise

    return [rate(config.layer(i)) for i in config.deciding]


def _attends(layer: SeqBoatLayer) -> bool:
    return fixed_rate(layer.config.configurator) != 0


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Parameters of all layers that have an effect, {part: count, ...}, of everything else ("other": a classifier's
    embedding and head, norms), and "total"."""
    parts = dict.fromkeys(PARTS, 0)
    for module in model.modules():
        if isinstance(module, SeqBoatLayer):
            rows, d = module.configurator.logits, module.config.d_model
            parts["ssm"] += count_parameters(module.ssm)
            parts["router"] += count_parameters(module.configurator) + rows * (d + 1)
            parts["skip"] += d * (d + 1)
            parts["gau"] += count_parameters(module.attention) if _attends(module) else 0
        elif isinstance(module, SSMLayer):
            parts["ssm"] += count_parameters(module.ssm)
            parts["skip"] += count_parameters(module.skip_proj)
        elif isinstance(module, Block):
            parts["mixer"] += count_parameters(module.mixer)
            parts["ffn"] += 0 if module.feed_forward is None else count_parameters(module.feed_forward)
        elif isinstance(module, ModLayer):
            parts["router"] += count_parameters(module.router) + count_parameters(module.predictor)
            parts["mixer"] += count_parameters(module.attention)
            parts["ffn"] += count_parameters(module.mlp)
        elif isinstance(module, FeedForward):
            parts["ffn"] += count_parameters(module)
        elif isinstance(module, LanguageModel):
            parts["head"] += count_parameters(module.embedding)
    total = count_parameters(model)
    return {**parts, "other": total - sum(parts.values()), "total": total}
