"""The state space model's part of a model: one dataclass per kernel, listed in `SSM_CONFIGS`."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from seqboat_lab.config.checks import at_least, fraction, positive, require
from seqboat_lab.config.components import Components

LARGEST_STATE = 1024
"""Beyond it HiPPO's eigenvectors take minutes, and a state more memory than attention would."""


def _even_state(section: Any) -> None:
    at_least(section, "state_size", 2, LARGEST_STATE)
    size = section.state_size
    require(size % 2 == 0, "state_size", size, "an even number, since modes come in conjugate pairs")


def _time_scales(section: Any) -> None:
    for name in ("dt_min", "dt_max"):
        positive(section, name, 1e-7, 10)
    require(section.dt_max >= section.dt_min, "dt_max", section.dt_max, f"at least dt_min = {section.dt_min}")


def _truncation(section: object) -> None:
    at_least(section, "truncation", 1, 2**24)


@dataclass(frozen=True)
class EMAConfig:
    """MH-EMA (Ma et al. 2023, arXiv 2209.10655), the kernel of the paper."""

    kernel: Literal["ema"] = "ema"
    state_size: int = 16
    """N, exponential averages per channel: more give a richer kernel, at linear cost."""
    truncation: int | None = None
    """Longest lag the kernel sees; null = the whole sequence. Streaming needs null to be exact."""

    def __post_init__(self):
        at_least(self, "state_size", 1, LARGEST_STATE)
        _truncation(self)


@dataclass(frozen=True)
class CEMAConfig:
    """Complex EMA (Megalodon, Ma et al. 2024, arXiv 2404.08801): averages that also oscillate."""

    kernel: Literal["cema"] = "cema"
    state_size: int = 16
    """N, complex averages per channel; each costs as much as two real ones."""
    truncation: int | None = None
    """Longest lag the kernel sees; null = the whole sequence. Streaming needs null to be exact."""

    def __post_init__(self):
        at_least(self, "state_size", 1, LARGEST_STATE)
        _truncation(self)


@dataclass(frozen=True)
class S4DConfig:
    """S4D (Gu et al. 2022, arXiv 2206.11893): a diagonal state space per channel, S4D-Lin."""

    kernel: Literal["s4d"] = "s4d"
    state_size: int = 64
    """N, even: N/2 conjugate pairs of modes per channel; more reach higher frequencies, at linear cost."""
    dt_min: float = 0.001
    """Smallest initial step; the longest memory a channel starts with is about 2 / dt_min tokens."""
    dt_max: float = 0.1
    """Largest initial step; steps are drawn log-uniformly."""
    truncation: int | None = None
    """Longest lag the kernel sees; null = the whole sequence. Streaming needs null to be exact."""

    def __post_init__(self):
        _even_state(self)
        _time_scales(self)
        _truncation(self)


@dataclass(frozen=True)
class S4Config:
    """S4 (Gu et al. 2022, arXiv 2111.00396): HiPPO-LegS, diagonal plus low rank, per channel."""

    kernel: Literal["s4"] = "s4"
    state_size: int = 64
    """N, even: HiPPO's polynomials per channel; carried state and kernel cost grow with it."""
    dt_min: float = 0.001
    """Smallest initial step; the longest memory a channel starts with is about 1 / dt_min tokens."""
    dt_max: float = 0.1
    """Largest initial step; steps are drawn log-uniformly."""

    def __post_init__(self):
        _even_state(self)
        _time_scales(self)


@dataclass(frozen=True)
class S5Config:
    """S5 (Smith et al. 2023, arXiv 2208.04933): one state space for all channels, block HiPPO-N."""

    kernel: Literal["s5"] = "s5"
    state_size: int = 64
    """P, even: P/2 conjugate pairs of modes shared by all channels; its matrices cost d * P."""
    blocks: int = 1
    """J: the initial matrix is J equal HiPPO-N blocks of size P/J; more blocks repeat lower frequencies."""
    dt_min: float = 0.001
    """Smallest initial step of a mode."""
    dt_max: float = 0.1
    """Largest initial step; steps are drawn log-uniformly."""

    def __post_init__(self):
        _even_state(self)
        _time_scales(self)
        at_least(self, "blocks", 1, LARGEST_STATE // 2)
        size, pairs = self.state_size, 2 * self.blocks
        require(size % pairs == 0, "state_size", size, f"a multiple of 2 * blocks = {pairs}")


@dataclass(frozen=True)
class LRUConfig:
    """Linear recurrent unit (Orvieto et al. 2023, arXiv 2303.06349): complex modes drawn in a ring."""

    kernel: Literal["lru"] = "lru"
    state_size: int = 64
    """Complex modes shared by all channels; its matrices cost 2 * d * state_size."""
    r_min: float = 0.0
    """Smallest initial |eigenvalue|; near 1 gives long memory from the start."""
    r_max: float = 1.0
    """Largest initial |eigenvalue|."""
    max_phase: float = 6.283
    """Largest initial angle; small values start with slow oscillations only."""

    def __post_init__(self):
        at_least(self, "state_size", 1, 2**14)
        for name in ("r_min", "r_max"):
            fraction(self, name)
        require(self.r_max > self.r_min, "r_max", self.r_max, f"more than r_min = {self.r_min}")
        positive(self, "max_phase", 1e-6, 2 * math.pi)


@dataclass(frozen=True)
class KernelConfig:
    """Settings of a kernel from outside: derive from it, add fields, and name it `Config` in the kernel's class."""

    kernel: str
    """`package.module:Class` of the kernel."""


SSMConfig = EMAConfig | CEMAConfig | S4DConfig | S4Config | S5Config | LRUConfig | KernelConfig

SSM_CONFIGS = Components(
    "kernel",
    {
        "ema": (EMAConfig, "seqboat_lab.nn.ssm.ema:EMA"),
        "cema": (CEMAConfig, "seqboat_lab.nn.ssm.cema:CEMA"),
        "s4d": (S4DConfig, "seqboat_lab.nn.ssm.s4d:S4D"),
        "s4": (S4Config, "seqboat_lab.nn.ssm.s4:S4"),
        "s5": (S5Config, "seqboat_lab.nn.ssm.s5:S5"),
        "lru": (LRUConfig, "seqboat_lab.nn.ssm.lru:LRU"),
    },
)
