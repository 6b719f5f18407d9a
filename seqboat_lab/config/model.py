"""The model's part of an experiment: what a SeqBoat network is made of."""

from dataclasses import dataclass, field, replace
from typing import Literal

from seqboat_lab.config.checks import ConfigError, at_least, fraction, require
from seqboat_lab.config.configurator import CONFIGURATOR_CONFIGS, ConfiguratorConfig, TemperedSoftmaxConfig
from seqboat_lab.config.ssm import SSM_CONFIGS, EMAConfig, SSMConfig


@dataclass(frozen=True)
class LayerConfig:
    """What one layer has otherwise than the model says; null = as the model."""

    configurator: ConfiguratorConfig | None = field(
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

    kind: Literal["seqboat", "cnn", "bag"] = "seqboat"
    """The encoder. `cnn` (of images) and `bag` (of tokens) are small, quick classifiers to check the data with: of the
    fields below they use d_model, classifier_hidden, absolute_position and dropout."""
    layers: int = 2
    """Number of SeqBoat layers."""
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
    attention_backend: Literal["auto", "matmul", "sdpa"] = "auto"
    """How attention is computed, equal but for rounding: batched matmuls, or torch's fused kernel (softmax only).
    `auto` measures both at first use on CUDA and keeps the faster, so that runs may round differently; elsewhere it is
    `matmul`."""
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
    configurator: ConfiguratorConfig = field(
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
    def activating_layers(self) -> int:
        """How many layers decide on attention, and report activation rates."""
        return self.layers if self.kind == "seqboat" else 0

    def layer(self, number: int) -> "ModelConfig":
        """The configuration of one layer. Raises `ConfigError` for a combination that is not possible there."""
        own = vars(self.by_layer.get(number, LayerConfig()))
        try:
            return replace(self, by_layer={}, **{key: value for key, value in own.items() if value is not None})
        except ConfigError as error:
            raise error.under(f"by_layer.{number}") from None

    def __post_init__(self):
        for number in self.by_layer:
            expected = f"the number of one of the {self.layers} layers, from 0 to {self.layers - 1}"
            require(0 <= number < self.layers, f"by_layer.{number}", number, expected)
        require(
            not self.by_layer or self.kind == "seqboat", "by_layer", dict(self.by_layer),
            f"none, since {self.kind} has no such layers",
        )  # fmt: skip
        for name in (
            "layers",
            "d_model",
            "d_hidden",
            "d_attention",
            "memory_size",
            "max_positions",
            "classifier_hidden",
        ):
            at_least(self, name, 1)
        if self.ffn_hidden is not None:
            at_least(self, "ffn_hidden", 1)
        for name in ("dropout", "hidden_dropout"):
            fraction(self, name)
            require(getattr(self, name) < 1, name, getattr(self, name), "a number below 1")
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
