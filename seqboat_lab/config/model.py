"""The model's part of an experiment: what a SeqBoat network is made of."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from seqboat_lab.config.checks import ConfigError, at_least, fraction, require
from seqboat_lab.config.components import Components
from seqboat_lab.config.configurator import CONFIGURATOR_CONFIGS, AnyConfiguratorConfig, TemperedSoftmaxConfig
from seqboat_lab.config.mixers import MIXER_CONFIGS, MixerConfig, SeqBoatMixerConfig
from seqboat_lab.config.ssm import SSM_CONFIGS, EMAConfig, SSMConfig

MOST_WEIGHTS = 20 * 10**9
"""With gradients and Adam's moments 320 GB in float32; every device holds them all."""


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder's own settings: derive from it, add fields, and name it `Config` in the encoder's class."""


ENCODER_CONFIGS = Components(
    "encoder",
    {
        **dict.fromkeys(MIXER_CONFIGS, (EncoderConfig, "seqboat_lab.nn.models:SeqBoat")),
        "cnn": (EncoderConfig, "seqboat_lab.nn.sanity:ImageConvolutions"),
        "bag": (EncoderConfig, "seqboat_lab.nn.sanity:TokenBag"),
    },
)


@dataclass(frozen=True)
class LayerConfig:
    """What one layer has otherwise than the model says; null = as the model."""

    configurator: AnyConfiguratorConfig | None = field(
        default=None, metadata={"tag": "kind", "among": CONFIGURATOR_CONFIGS, "optional": True}
    )
    """What decides which of the layer's tokens are active (`kind: never` = no attention here)."""
    ssm: SSMConfig | None = field(default=None, metadata={"tag": "kernel", "among": SSM_CONFIGS, "optional": True})
    """The layer's state space model."""
    d_hidden: int | None = None
    """Width of its values and gate."""
    d_attention: int | None = None
    """Width of its queries and keys."""
    memory_size: int | None = None
    """Its working memory."""
    attention: Literal["softmax", "relu2", "laplace"] | None = None
    """Its attention function."""
    position: Literal["bias", "local", "rotary"] | None = None
    """How it tells positions."""
    max_positions: int | None = None
    """Original distances beyond share one bias (`position: bias` only)."""
    confidence_on: Literal["output", "output_and_value"] | None = None
    """What its tokens' confidence scales."""


@dataclass(frozen=True)
class ModelConfig:
    """One SeqBoat network (Ren et al. 2023, arXiv 2306.11197)."""

    kind: str = "seqboat"
    """The encoder: a stack of seqboat, mega, ssm, transformer, local_attention, retnet, rwkv, hyena, mamba, gla or mod
    layers; cnn, bag; or `package.module:Class`. `cnn` (of images) and `bag` (of tokens) are small, quick classifiers to
    check the data with: of the fields below they use d_model, classifier_hidden, absolute_position and dropout."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig, metadata={"tag": "../kind", "among": ENCODER_CONFIGS})
    """Settings of an encoder from outside; the package's own have none here."""
    layers: int = 2
    """Number of layers."""
    blocks: list = field(default_factory=list)
    """A hybrid stack: the kinds of its layers from the first on, repeated over all of them, such as
    `[mamba, mamba, local_attention]`, or `package.module:Class` of your own; empty = `kind` everywhere."""
    mixers: dict[str, MixerConfig] = field(default_factory=dict, metadata={"by_name": MIXER_CONFIGS})
    """Settings by kind of layer, `{transformer: {heads: 8}}`; those left out have their defaults. The layers seqboat,
    mega and ssm read the model's fields below instead."""
    d_model: int = 64
    """d, width of the residual stream."""
    d_hidden: int = 128
    """h, width of the gated attention unit's values and gate."""
    d_attention: int = 32
    """z, width of the single attention head's queries and keys."""
    memory_size: int = 128
    """w, working memory: active tokens a query may look back (and ahead, when bidirectional)."""
    bidirectional: bool = True
    """Read both ways (classification) or only the past (language modelling)."""
    attention: Literal["softmax", "relu2", "laplace"] = "softmax"
    """Attention function over the scores."""
    attention_backend: Literal["auto", "matmul", "chunks", "sdpa"] = "auto"
    """How attention is computed, equal but for rounding: batched matmuls (`matmul`), the same a few tiles at a time in
    less memory (`chunks`), or torch's fused kernel (`sdpa`, softmax only). `auto` is `chunks` on a CPU; on CUDA `sdpa`
    for the softmax, else `matmul`."""
    position: Literal["bias", "local", "rotary"] = "bias"
    """Bias by original distance, by distance among active tokens, or rotation by original position."""
    max_positions: int = 2048
    """M: original distances beyond M - 1 share one bias (`position: bias` only)."""
    norm: Literal["layernorm", "batchnorm", "syncbatchnorm", "scalenorm", "rmsnorm"] = "layernorm"
    """Normalisation; the batch norms make rows of a training batch depend on each other."""
    prenorm: bool = False
    """Normalise a layer's input (and once at the end) instead of its output."""
    ssm: SSMConfig = field(default_factory=EMAConfig, metadata={"tag": "kernel", "among": SSM_CONFIGS})
    """The state space model that reads every token."""
    configurator: AnyConfiguratorConfig = field(
        default_factory=TemperedSoftmaxConfig, metadata={"tag": "kind", "among": CONFIGURATOR_CONFIGS}
    )
    """What decides which tokens are active."""
    confidence_on: Literal["output", "output_and_value"] = "output"
    """What a token's confidence scales: its own attention output (the paper), or also its value where others read it,
    so that the gradient says whether it was useful to them."""
    by_layer: dict[int, LayerConfig] = field(default_factory=dict)
    """Layers that differ, by their number from 0, `{0: {configurator: {kind: never}}, 3: {memory_size: 8}}`: so a
    search can ask which layers need attention (`model.by_layer.0.memory_size`)."""
    ffn_hidden: int | None = None
    """Width of a feed-forward block after each layer; null = none, as in the authors' recipes."""
    absolute_position: bool = False
    """Add a scaled sinusoid of the absolute position to the embedding."""
    classifier_hidden: int = 128
    """Width of the classifier's hidden layer."""
    dropout: float = 0.1
    """Dropout after the embedding, after the SSM and in the classifier."""
    hidden_dropout: float = 0.0
    """Dropout on the attention values."""

    @property
    def weights(self) -> int:
        """Roughly how many the layers have: their matrices."""
        d, h, z = self.d_model, self.d_hidden, self.d_attention
        directions = 2 if self.bidirectional else 1
        ssm = 4 * directions * d * getattr(self.ssm, "state_size", 1)  # a kernel from outside may have none
        layer = d * (z + 2 * h) + h * d + d * d + 2 * d * (self.ffn_hidden or 0) + ssm + 2 * self.max_positions
        return self.layers * max(layer, 0 if self.has_only_seqboat else 12 * d * d)

    @property
    def is_stack(self) -> bool:
        """Whether the encoder is made of layers, whose kinds `blocks` or `kind` tell."""
        return self.kind in MIXER_CONFIGS.known

    @property
    def has_only_seqboat(self) -> bool:
        """Whether the layers are those that read the model's own fields: seqboat, mega, ssm."""
        return all(isinstance(self.settings(name), SeqBoatMixerConfig) for name in self.kinds)

    @property
    def kinds(self) -> list[str]:
        """The kind of each layer; none of an encoder that is no stack."""
        names = self.blocks or [self.kind]
        return [names[i % len(names)] for i in range(self.layers)] if self.is_stack else []

    def settings(self, kind: str) -> MixerConfig:
        """The settings of a kind of layer."""
        return self.mixers[kind] if kind in self.mixers else MIXER_CONFIGS.settings("kind", kind)()

    @property
    def mixer(self) -> Any:
        """Of one layer's configuration (see `layer`): the settings of its kind."""
        return self.settings(self.kind)

    @property
    def deciding(self) -> list[int]:
        """The numbers of the layers that decide which tokens are active, and report activation rates."""
        return [i for i, kind in enumerate(self.kinds) if self.settings(kind).decides]

    @property
    def activating_layers(self) -> int:
        """How many layers decide on attention, and report activation rates: what is called layer i there is the i-th
        of these."""
        return len(self.deciding)

    def layer(self, number: int) -> "ModelConfig":
        """The configuration of one layer, whose `kind` is its own. Raises `ConfigError` for a combination that is not
        possible there."""
        kind = self.kinds[number]
        own = {key: value for key, value in vars(self.by_layer.get(number, LayerConfig())).items() if value is not None}
        try:
            return replace(self, by_layer={}, blocks=[], kind=kind, **own | dict(self.settings(kind).layer_fields))
        except ConfigError as error:
            raise error.under(f"by_layer.{number}") from None

    def __post_init__(self):
        ENCODER_CONFIGS.settings("kind", self.kind)
        at_least(self, "layers", 1, 1024)
        for name in ("d_model", "d_hidden", "d_attention", "memory_size", "classifier_hidden", "ffn_hidden"):
            at_least(self, name, 1, 2**16)
        at_least(self, "max_positions", 1, 2**24)
        for number in self.by_layer:
            expected = f"the number of one of the {self.layers} layers, from 0 to {self.layers - 1}"
            require(0 <= number < self.layers, f"by_layer.{number}", number, expected)
        self._check_stack()
        for name in ("dropout", "hidden_dropout"):
            fraction(self, name, below_one=True)
        require(
            self.weights <= MOST_WEIGHTS, "d_model", self.d_model,
            f"a network of at most {MOST_WEIGHTS:,} weights; this one has some {self.weights:,}",
        )  # fmt: skip
        require(
            self.attention_backend != "sdpa" or self.attention == "softmax",
            "attention_backend",
            self.attention_backend,
            f"auto or matmul, since sdpa is a softmax and attention is {self.attention}",
        )
        require(
            self.position != "rotary" or self.d_attention % 2 == 0,
            "d_attention",
            self.d_attention,
            "an even number, since rotary positions turn pairs",
        )
        require(
            not self.absolute_position or self.d_model % 2 == 0,
            "d_model",
            self.d_model,
            "an even number, since absolute positions pair sines with cosines",
        )
        for number in self.by_layer:
            self.layer(number)

    def _check_stack(self) -> None:
        """The kinds of the layers, their settings, and fields of single layers that read them."""
        require(not self.blocks or self.kind == "seqboat", "blocks", self.blocks, f"none, since kind is {self.kind!r}")
        require(
            len(self.blocks) <= self.layers, "layers", self.layers, f"at least the {len(self.blocks)} of model.blocks"
        )
        named = {f"blocks.{i}": name for i, name in enumerate(self.blocks)} | {f"mixers.{k}": k for k in self.mixers}
        for key, name in named.items():
            settings = MIXER_CONFIGS.settings(key, name)
            require(issubclass(settings, MixerConfig), key, name, "a mixer, whose Config derives from MixerConfig")
        for kind in {*self.kinds, *self.mixers}:
            try:
                self.settings(kind).check(self.d_model)
            except ConfigError as error:
                raise error.under(f"mixers.{kind}") from None
        for number, own in self.by_layer.items():
            kind = self.kinds[number] if self.is_stack else self.kind
            require(
                self.is_stack and isinstance(self.settings(kind), SeqBoatMixerConfig), "by_layer", number,
                f"the number of a seqboat, mega or ssm layer, since {kind} has no such layers",
            )  # fmt: skip
            for name in self.settings(kind).layer_fields:
                value = getattr(own, name, None)
                require(value is None, f"by_layer.{number}.{name}", value, f"none, since {kind} has its own")
