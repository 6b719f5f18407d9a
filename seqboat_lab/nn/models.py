"""Whole networks: the encoder of SeqBoat or other layers, and the classifier, pair classifier, language model on it."""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.mixers import SeqBoatMixerConfig
from seqboat_lab.config.model import ENCODER_CONFIGS, ModelConfig
from seqboat_lab.nn.checks import check_mask, check_sequences, found
from seqboat_lab.nn.dropout import Dropout
from seqboat_lab.nn.feed_forward import FeedForward
from seqboat_lab.nn.layer import LayerOutput
from seqboat_lab.nn.mixers import BlockOutput, make_layer
from seqboat_lab.nn.norms import NORMS, LayerNorm


class Activation(NamedTuple):
    """One layer's decisions for a batch."""

    active: Tensor
    """(B, L) bool"""
    confidence: Tensor
    """(B, L)"""
    evidence: Tensor | None = None
    """(B, L) log-odds of activation, of inactive tokens too; None where the input decides nothing."""


class ModelOutput(NamedTuple):
    logits: Tensor
    """(B, classes), or (B, L, vocabulary) of a language model."""
    activations: list[Activation]
    """One per layer that decides; none of an encoder that activates nothing."""
    state: list[Any] | None = None
    """After the last token, where a state was passed in."""


def decisions(outputs: Iterable[LayerOutput | BlockOutput]) -> list[Activation]:
    """Those of the layers that decide."""
    return [Activation(out.active, out.confidence, out.evidence) for out in outputs if isinstance(out, LayerOutput)]


class SeqBoat(nn.Module):
    """A stack of SeqBoat layers, each with a feed-forward block behind it if `ffn_hidden` says so, or of the mixers
    that `blocks` or `kind` names, which bring their own: (B, L, d) -> (B, L, d), with a final norm if layers are
    pre-norm.

    Works with `copy.deepcopy`, `pickle`, `torch.compile`, `torch.func.functional_call` and in any floating-point type
    (the SSMs' parameters stay in float32 or better). Does not work with `torch.func`'s transforms (grad, vmap, jvp)
    and `torch.export`, which raise errors of their own, nor with `torch.jit`: how many tokens are active is known
    only when the model runs.

    Raises `ValueError` for shapes and types other than those below. A token that holds a NaN or an infinity gives
    NaN; it counts as zero to the other tokens of its row, and other rows never see it (batch norms in training aside).
    """

    if TYPE_CHECKING:  # torch.jit, too, would read it, and say that rather than why it cannot work
        layers: Sequence[Any]

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        layers = [config.layer(i) for i in range(config.layers)]
        self.layers = nn.ModuleList(make_layer(layer, i) for i, layer in enumerate(layers))  # type: ignore[assignment]
        self.feed_forward = nn.ModuleList(map(feed_forward_behind, layers) if config.ffn_hidden else ())
        prenorm = config.prenorm or not config.has_only_seqboat
        self.final_norm = NORMS[config.norm](config.d_model) if prenorm else None
        self.warned_of_truncation = self.warned_of_growth = False

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, state: list[Any] | None = None
    ) -> tuple[Tensor, list[LayerOutput | BlockOutput]]:
        """x (B, L, d), padding_mask (B, L) True = padding -> the encoded tokens and every layer's output."""
        if state is not None:
            self._check_state(state)
        outputs = []
        for i, layer in enumerate(self.layers):
            out = layer(x, padding_mask, state and state[i])
            x = self.feed_forward[i](out.y, padding_mask) if self.feed_forward else out.y
            outputs.append(out)
        return (x if self.final_norm is None else self.final_norm(x, padding_mask)), outputs

    def init_state(self, batch: int) -> list[Any]:
        """State of `batch` streams before their first token. Warns, once a model, where kernels are truncated or the
        state grows with every token. Raises `UserError` for layers that have no state."""
        truncation = getattr(self.config.ssm, "truncation", None)
        kernels = [layer.ssm for layer in self.layers if hasattr(layer, "ssm")]
        if not self.warned_of_truncation and truncation and kernels:
            self.warned_of_truncation = True
            bound = max(kernel.dropped() for kernel in kernels)
            warnings.warn(
                f"streaming uses the whole SSM kernels, not their first {truncation} lags as "
                f"model.ssm.truncation says: an SSM's output may differ by up to {bound:.1e} times its largest input",
                stacklevel=2,
            )
        state = [layer.init_state(batch) for layer in self.layers]
        growing = sorted({kind for kind in self.config.kinds if self.config.settings(kind).state == "grows"})
        if not self.warned_of_growth and growing:
            self.warned_of_growth = True
            warnings.warn(
                f"{' and '.join(growing)} layers stream with a cache of keys and values that grows with every token",
                stacklevel=2,
            )
        return state

    def step(self, x: Tensor, state: list[Any]) -> tuple[Tensor, list[Activation], list[Any]]:
        """One token of every stream, (B, d) -> (B, d), the deciding layers' decisions; see `SeqBoatLayer.step`."""
        self._check_state(state)
        decided, new_state = [], []
        for i, (layer, layer_state) in enumerate(zip(self.layers, state, strict=True)):
            x, decision, layer_state = layer.step(x, layer_state)
            if self.feed_forward:
                x = self.feed_forward[i](x.unsqueeze(1)).squeeze(1)
            if decision is not None:
                decided.append(Activation(*decision))
            new_state.append(layer_state)
        if self.final_norm is not None:
            x = self.final_norm(x.unsqueeze(1)).squeeze(1)
        return x, decided, new_state

    def _check_state(self, state: list[Any]) -> None:
        if len(state) != len(self.layers):
            raise ValueError(f"expected the states of {len(self.layers)} layers; found {len(state)}")


class Nothing(nn.Module):
    """Stands where a layer brings a feed-forward part of its own."""

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        return x


def feed_forward_behind(layer: ModelConfig) -> nn.Module:
    return FeedForward(layer) if isinstance(layer.mixer, SeqBoatMixerConfig) else Nothing()


class TokenEmbedding(nn.Embedding):
    """Token ids to vectors, normal with std d^-1/2; `padding_idx`, if any, is the zero vector.

    Raises `ValueError` for what is no id; out of range only on the CPU (CUDA ends the process, as torch's own does).
    """

    def forward(self, ids: Tensor) -> Tensor:
        if ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"expected token ids of torch.int64; found {found(ids)}")
        try:
            return super().forward(ids)
        except IndexError:
            n, low, high = self.num_embeddings, int(ids.min()), int(ids.max())
            raise ValueError(f"expected token ids from 0 to {n - 1}; found {low} to {high}") from None

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)
        self._fill_padding_idx_with_zero()


class RealEmbedding(nn.Module):
    """Real values (B, L) to vectors x * weight + bias."""

    def __init__(self, d_model: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_model))
        self.bias = nn.Parameter(0.1 * torch.randn(d_model))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, x.unsqueeze(-1).to(self.weight.dtype), self.weight)


class AbsolutePosition(nn.Module):
    """A sinusoid of the position, halves sine and cosine, times a learned scalar that starts at d^-1/2."""

    def __init__(self, d_model: int):
        super().__init__()
        self.d_model = d_model
        self.scale = nn.Parameter(torch.tensor([d_model**-0.5]))

    def forward(self, x: Tensor) -> Tensor:
        """Adds positions 0 .. L-1 to x (B, L, d)."""
        steps = torch.arange(0, self.d_model, 2, device=x.device, dtype=torch.float64)
        position = torch.arange(x.shape[1], device=x.device, dtype=torch.float64)
        angle = position.unsqueeze(1) * 10000.0 ** (-steps / self.d_model)  # (L, d/2)
        return x + torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.scale.dtype) * self.scale


class Classifier(nn.Module):
    """Sequence classification by mean pooling.

    With `pair`, inputs hold 2B sequences, first documents before second ones, and the head sees
    [a, b, a*b, a-b] where `b` is the first document's vector, as in the authors' code.
    """

    def __init__(self, config: ModelConfig, num_classes: int, vocab_size: int | None, pair: bool = False):
        super().__init__()
        d, hidden = config.d_model, config.classifier_hidden
        self.pair = pair
        self.embedding = RealEmbedding(d) if vocab_size is None else TokenEmbedding(vocab_size, d, padding_idx=0)
        self.position = AbsolutePosition(d) if config.absolute_position else nn.Identity()
        self.encoder = ENCODER_CONFIGS.implementation(config.kind)(config)
        self.hidden = nn.Linear(4 * d if pair else d, hidden)
        self.output = nn.Linear(hidden, num_classes, bias=False)
        self.dropout = Dropout(config.dropout)
        nn.init.xavier_uniform_(self.hidden.weight)
        nn.init.zeros_(self.hidden.bias)
        nn.init.xavier_uniform_(self.output.weight)

    def forward(self, inputs: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """inputs (B, L) token ids or real values, padding_mask (B, L) True = padding -> logits (B, classes)."""
        check_sequences(inputs)
        check_mask(padding_mask, *inputs.shape)
        if self.pair and len(inputs) % 2:
            raise ValueError(f"expected pairs, 2B sequences; found {found(inputs)}")
        x = self.position(self.embedding(inputs))
        if padding_mask is not None:
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        x, layers = self.encoder(self.dropout(x), padding_mask)
        features = mean_pool(x, padding_mask)  # (B, d)
        if self.pair:
            b, a = features.chunk(2)
            features = torch.cat([a, b, a * b, a - b], dim=-1)
        logits = self.output(F.gelu(self.dropout(self.hidden(features))))
        return ModelOutput(logits, decisions(layers))


class LanguageModel(nn.Module):
    """Next-token prediction with causal layers; the output weights are the embedding's."""

    def __init__(self, config: ModelConfig, vocab_size: int):
        super().__init__()
        if config.bidirectional:
            raise ValueError("a language model reads only the past; set model.bidirectional=false")
        if not config.is_stack:
            raise ValueError(f"a language model is a stack of layers; model.kind {config.kind} is none")
        self.scale = math.sqrt(config.d_model)
        self.embedding = TokenEmbedding(vocab_size, config.d_model)
        self.dropout = Dropout(config.dropout)
        self.encoder = SeqBoat(config)
        self.encoder.final_norm = LayerNorm(config.d_model, affine=False)

    def forward(self, tokens: Tensor, state: list[Any] | None = None) -> ModelOutput:
        """tokens (B, L) -> logits (B, L, vocabulary) of each next token."""
        check_sequences(tokens)
        x, layers = self.encoder(self.dropout(self.scale * self.embedding(tokens)), state=state)
        new_state = None if state is None else [out.state for out in layers]
        return ModelOutput(F.linear(x, self.embedding.weight), decisions(layers), new_state)

    def init_state(self, batch: int) -> list[Any]:
        """State of `batch` streams before their first token."""
        return self.encoder.init_state(batch)

    def step(self, token: Tensor, state: list[Any]) -> tuple[Tensor, list[Activation], list[Any]]:
        """token (B,) -> logits (B, vocabulary), every deciding layer's decision (B,), next state."""
        if token.dim() != 1:
            raise ValueError(f"expected one token of every stream, (B,); found {found(token)}")
        x, decided, state = self.encoder.step(self.scale * self.embedding(token), state)
        return F.linear(x, self.embedding.weight), decided, state


def mean_pool(x: Tensor, padding_mask: Tensor | None) -> Tensor:
    """(B, L, d) -> (B, d), over what is not padding."""
    if padding_mask is None:
        return x.mean(1)
    real = (~padding_mask).to(x.dtype)
    return torch.einsum("bld,bl->bd", x, real) / real.sum(1, keepdim=True).clamp(min=1)
