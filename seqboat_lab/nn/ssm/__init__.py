"""State space models: the cheap part of a SeqBoat layer that reads every token."""

from seqboat_lab.config.ssm import SSM_CONFIGS, SSMConfig
from seqboat_lab.nn.ssm.base import SSM, FLOPs


def make_ssm(config: SSMConfig, d_model: int, bidirectional: bool) -> SSM:
    """The kernel that `config.kernel` names."""
    return SSM_CONFIGS.implementation(config.kernel)(config, d_model, bidirectional)


__all__ = ["SSM", "FLOPs", "make_ssm"]
