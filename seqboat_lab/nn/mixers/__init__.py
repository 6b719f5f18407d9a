"""The mixers a stack can be made of besides SeqBoat layers."""

from torch import nn

from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers.base import Block, BlockOutput, Mixer, block_flops


def make_layer(config: ModelConfig, number: int) -> nn.Module:
    """The layer of this number, of the kind that its configuration names: a `Mixer` becomes a `Block`."""
    kind = MIXER_CONFIGS.implementation(config.kind)
    return Block(config, number) if issubclass(kind, Mixer) else kind(config, number)


__all__ = ["Block", "BlockOutput", "Mixer", "block_flops", "make_layer"]
