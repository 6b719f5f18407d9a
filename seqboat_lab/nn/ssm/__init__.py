"""State space models: the cheap part of a SeqBoat layer that reads every token."""

from collections.abc import Callable

from seqboat_lab.config.ssm import SSMConfig
from seqboat_lab.nn.ssm.base import SSM, FLOPs
from seqboat_lab.nn.ssm.cema import CEMA
from seqboat_lab.nn.ssm.ema import EMA
from seqboat_lab.nn.ssm.lru import LRU
from seqboat_lab.nn.ssm.s4 import S4
from seqboat_lab.nn.ssm.s4d import S4D
from seqboat_lab.nn.ssm.s5 import S5

KERNELS: dict[str, type[SSM]] = {"ema": EMA, "cema": CEMA, "s4d": S4D, "s4": S4, "s5": S5, "lru": LRU}


def make_ssm(config: SSMConfig, d_model: int, bidirectional: bool) -> SSM:
    """The kernel that `config.kernel` names."""
    kernel: Callable[..., SSM] = KERNELS[config.kernel]  # each takes the config of its own kind
    return kernel(config, d_model, bidirectional)


__all__ = ["KERNELS", "SSM", "FLOPs", "make_ssm"]
