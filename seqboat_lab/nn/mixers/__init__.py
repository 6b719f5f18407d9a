"""The mixers a stack can be made of besides SeqBoat layers."""

from torch import nn

from seqboat_lab.config.checks import UserError
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers.base import Block, BlockOutput, Mixer, block_flops
from seqboat_lab.nn.ssm.base import FLOPs


def make_layer(config: ModelConfig, number: int) -> nn.Module:
    """The layer of this number, of the kind that its configuration names: a `Mixer` becomes a `Block`.

    Raises `UserError` for a class from outside that is neither a mixer nor a layer.
    """
    kind = MIXER_CONFIGS.implementation(config.kind)
    if ":" in config.kind and not (issubclass(kind, Mixer) or hasattr(kind, "layer_flops")):
        raise UserError(
            f"model.blocks: {config.kind!r} is not possible here; expected a class derived from "
            "seqboat_lab.nn.mixers.Mixer, or a whole layer that has layer_flops"
        )
    return Block(config, number) if issubclass(kind, Mixer) else kind(config, number)


def layer_flops(config: ModelConfig, length: int, rate: float = 0.0) -> dict[str, FLOPs]:
    """FLOPs per token of one layer, by part, at an activation rate; those of seqboat, mega and ssm are counted by
    `nn.cost`. A layer from outside says what it costs in a static method `layer_flops` of these arguments; a plain
    number stands for matrix products."""
    kind = MIXER_CONFIGS.implementation(config.kind)
    parts = block_flops(config, length) if issubclass(kind, Mixer) else kind.layer_flops(config, length, rate)
    return {part: flops if isinstance(flops, FLOPs) else FLOPs(flops, 0.0) for part, flops in parts.items()}


__all__ = ["Block", "BlockOutput", "Mixer", "layer_flops", "make_layer"]
