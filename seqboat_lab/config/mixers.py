"""The mixers a stack is made of: one dataclass of settings per kind, listed in `MIXER_CONFIGS`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from seqboat_lab.config.checks import at_least, fraction, require
from seqboat_lab.config.components import Components
from seqboat_lab.config.configurator import AlwaysConfig


@dataclass(frozen=True)
class MixerConfig:
    """Settings of a mixer from outside: derive from it, add fields, and name it `Config` in the mixer's class."""

    state: ClassVar[Literal["fixed", "grows", "none"]] = "fixed"
    """What a stream carries from token to token: the same amount however much it has read, more with every token, or
    nothing that could be carried."""
    decides: ClassVar[bool] = False
    """Whether it decides which tokens are active, and reports activation rates."""
    layer_fields: ClassVar[Mapping[str, Any]] = {}
    """Fields of the model that are given with this kind."""

    def check(self, d_model: int) -> None:
        """Raises `ConfigError` about a field of this section that does not go with the model's width."""


@dataclass(frozen=True)
class SeqBoatMixerConfig(MixerConfig):
    """The SeqBoat layer; its settings are the model's own fields."""

    decides: ClassVar[bool] = True


@dataclass(frozen=True)
class MegaConfig(SeqBoatMixerConfig):
    """Mega with a sliding window (Ma et al. 2023, arXiv 2209.10655): the SeqBoat layer whose tokens are all active."""

    layer_fields: ClassVar[Mapping[str, Any]] = {"configurator": AlwaysConfig()}


@dataclass(frozen=True)
class SSMOnlyConfig(SeqBoatMixerConfig):
    """The SeqBoat layer whose tokens are never active, without the weights of the attention that never runs."""

    decides: ClassVar[bool] = False


@dataclass(frozen=True)
class ResidualConfig(MixerConfig):
    """What pre-norm residual blocks have in common."""

    ffn_ratio: float = 4.0
    """Width of the block's feed-forward part, as a multiple of d_model; 0 = none."""

    def __post_init__(self):
        at_least(self, "ffn_ratio", 0, 64)


@dataclass(frozen=True)
class HeadsConfig(ResidualConfig):
    """A residual block whose mixer has heads."""

    heads: int = 4
    """Heads that d_model is divided among."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "heads", 1, 2**12)

    def check(self, d_model: int) -> None:
        require(d_model % self.heads == 0, "heads", self.heads, f"a divisor of d_model = {d_model}")


@dataclass(frozen=True)
class RotaryHeadsConfig(HeadsConfig):
    """A residual block whose heads turn pairs."""

    def check(self, d_model: int) -> None:
        super().check(d_model)
        require(
            d_model // self.heads % 2 == 0, "heads", self.heads,
            f"one that leaves each an even width of d_model = {d_model}, since rotary positions turn pairs",
        )  # fmt: skip


@dataclass(frozen=True)
class BackendConfig:
    """A mixer whose recurrence can run elsewhere."""

    backend: Literal["torch", "fla"] = "torch"
    """`fla`: the recurrence by the Triton kernels of flash-linear-attention (extra `fast`) on CUDA devices, in TF32
    where the device has it; training and segments only, single steps stay in plain torch."""


@dataclass(frozen=True)
class TransformerConfig(RotaryHeadsConfig):
    """Softmax attention to all tokens (Vaswani et al. 2017, arXiv 1706.03762), pre-norm, with rotary positions and
    a GELU feed-forward part; initialised like GPT-2. A stream keeps all keys and values: a cache that grows."""

    state: ClassVar[Literal["fixed", "grows", "none"]] = "grows"


@dataclass(frozen=True)
class LocalAttentionConfig(RotaryHeadsConfig):
    """Softmax attention to the tokens around, otherwise like `transformer` (the sliding window of Longformer, Beltagy
    et al. 2020, arXiv 2004.05150)."""

    window: int = 128
    """Tokens that a query may look back (and ahead, when bidirectional) besides itself; cost grows with it."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "window", 1, 2**20)


@dataclass(frozen=True)
class RetNetConfig(BackendConfig, RotaryHeadsConfig):
    """Multi-scale retention (Sun et al. 2023, arXiv 2307.08621): one fixed decay per head."""

    ffn_ratio: float = 2.0


@dataclass(frozen=True)
class RWKVConfig(BackendConfig, HeadsConfig):
    """RWKV-6 "Finch" (Peng et al. 2024, arXiv 2404.05892): time mixing with a decay per channel that depends on the
    data, and its own channel mixing as feed-forward part. Version 4 has no matrix-valued state, 5 fixed decays, and
    7's state is no longer decayed channel by channel; 6 is the last that shares the chunked form of `gla`."""

    ffn_ratio: float = 3.5
    lora: int = 32
    """Rank of the maps that make token shift (and, with twice the rank, decay) depend on the data."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "lora", 1, 2**12)


@dataclass(frozen=True)
class HyenaConfig(ResidualConfig):
    """Hyena of order 2 (Poli et al. 2023, arXiv 2302.10866): gates around long convolutions whose filters a small
    network makes from the lag. It has no recurrent state, so it cannot stream or generate."""

    state: ClassVar[Literal["fixed", "grows", "none"]] = "none"
    filter_width: int = 64
    """Width of the network that makes the filters."""
    filter_length: int = 1024
    """Lag that the network sees as 1, about the longest the filters reach at the start: the paper sets the longest
    sequence. Shorter reaches less far, longer sees near lags less sharply."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "filter_width", 1, 2**12)
        at_least(self, "filter_length", 2, 2**24)


@dataclass(frozen=True)
class MambaConfig(BackendConfig, ResidualConfig):
    """Mamba-2 (Dao & Gu 2024, arXiv 2405.21060): a selective state space with one decay per head and token. It has no
    feed-forward part unless `ffn_ratio` asks for one, a SwiGLU."""

    ffn_ratio: float = 0.0
    state_size: int = 64
    """N, length of B and C: the state holds N numbers per inner channel."""
    head_size: int = 32
    """P, inner channels (of 2 * d_model) that share a decay."""
    conv: int = 4
    """Width of the short convolution before the state space."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "state_size", 1, 2**12)
        at_least(self, "head_size", 1, 2**12)
        at_least(self, "conv", 2, 256)

    def check(self, d_model: int) -> None:
        require(
            2 * d_model % self.head_size == 0, "head_size", self.head_size, f"a divisor of 2 * d_model = {2 * d_model}"
        )


@dataclass(frozen=True)
class GLAConfig(BackendConfig, HeadsConfig):
    """Gated linear attention (Yang et al. 2024, arXiv 2312.06635): a decay per channel of the keys that depends on the
    data, and a SwiGLU feed-forward part."""

    ffn_ratio: float = 8 / 3
    gate_rank: int = 16
    """Rank of the map that makes the decays."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "gate_rank", 1, 2**12)

    def check(self, d_model: int) -> None:
        require(
            d_model % (2 * self.heads) == 0, "heads", self.heads, f"a divisor of d_model / 2, for d_model = {d_model}"
        )


@dataclass(frozen=True)
class ModConfig(TransformerConfig):
    """Mixture-of-Depths (Raposo et al. 2024, arXiv 2404.02258): only the tokens that a router weighs most go through a
    transformer block, and see only each other there. Top-k looks at the whole sequence, so the tokens are chosen so
    while training only; afterwards a predictor of that choice, which sees one token, decides."""

    decides: ClassVar[bool] = True
    layer_fields: ClassVar[Mapping[str, Any]] = {"memory_size": 2**16}  # a routed token reads all routed ones
    capacity: float = 0.125
    """Share of the tokens that go through the block; the paper alternates such blocks with full ones."""

    def __post_init__(self):
        super().__post_init__()
        fraction(self, "capacity")


MIXER_CONFIGS = Components(
    "mixer",
    {
        "seqboat": (SeqBoatMixerConfig, "seqboat_lab.nn.layer:SeqBoatLayer"),
        "mega": (MegaConfig, "seqboat_lab.nn.layer:SeqBoatLayer"),
        "ssm": (SSMOnlyConfig, "seqboat_lab.nn.mixers.ssm:SSMLayer"),
        "transformer": (TransformerConfig, "seqboat_lab.nn.mixers.transformer:Attention"),
        "local_attention": (LocalAttentionConfig, "seqboat_lab.nn.mixers.local_attention:LocalAttention"),
        "retnet": (RetNetConfig, "seqboat_lab.nn.mixers.retnet:Retention"),
        "rwkv": (RWKVConfig, "seqboat_lab.nn.mixers.rwkv:TimeMix"),
        "hyena": (HyenaConfig, "seqboat_lab.nn.mixers.hyena:Hyena"),
        "mamba": (MambaConfig, "seqboat_lab.nn.mixers.mamba:Mamba"),
        "gla": (GLAConfig, "seqboat_lab.nn.mixers.gla:GatedLinearAttention"),
        "mod": (ModConfig, "seqboat_lab.nn.mixers.mod:ModLayer"),
    },
)
"""Every block kind; a class from outside is a `Mixer`, or a whole layer with the interface of `SeqBoatLayer`."""
