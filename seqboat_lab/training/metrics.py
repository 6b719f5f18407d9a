"""What is measured of a model's activations, weighted by tokens and exact over any number of processes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.models import Activation
from seqboat_lab.nn.packing import attention_span, pack, span_of


def activation_rates(activations: list[Activation], padding_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Share of real tokens that each layer activates, (layers,), and the number of real tokens."""
    active = torch.stack([a.active.sum() for a in activations]).float()
    first = activations[0].active
    tokens = active.new_tensor(first.numel()) if padding_mask is None else (~padding_mask).sum().float()
    return active / tokens, tokens


class ActivationMetrics(Metric):
    """Per layer: activation rate; attention span (see `attention_span`), mean and 95th percentile over the active
    tokens that have another key to read; fill of the active tokens' working memory."""

    full_state_update = False
    active: Tensor
    span: Tensor
    fill: Tensor
    histogram: Tensor
    tokens: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.bidirectional = config.bidirectional
        self.memory_sizes = [config.layer(i).memory_size for i in config.deciding]
        for name in ("active", "span", "fill"):  # sums over tokens; float64 counts exactly
            self.add_state(name, torch.zeros(config.activating_layers, dtype=torch.float64), dist_reduce_fx="sum")
        histogram = torch.zeros(config.activating_layers, SPAN_BINS, dtype=torch.float64)
        self.add_state("histogram", histogram, dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        activations: list[Activation],
        left_out: Tensor | None = None,
        reach: list[tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        """
        Args:
            left_out: (B, L) tokens that do not count, such as padding; they may still be keys of those that do.
            reach: each layer's `attention_span` of the active tokens, where it reaches back behind this batch.
        """
        if not activations:
            return
        first = activations[0].active
        self.tokens += first.numel() if left_out is None else (~left_out).sum()
        for i, activation in enumerate(activations):
            if reach is None:
                span, fill = attention_span(activation.active, self.memory_sizes[i], self.bidirectional)
            else:
                span, fill = reach[i]
            if left_out is not None:
                counted = ~left_out[activation.active]
                span, fill = span[counted], fill[counted]
            self.active[i] += len(span)
            self.span[i] += span.double().sum()
            self.fill[i] += fill.double().sum()
            self.histogram[i] += torch.bincount(span_bin(span[span > 0]), minlength=SPAN_BINS)

    def compute(self) -> dict[str, Tensor]:
        """Names as logged (without `val/`); a layer whose tokens read no other has span and fill 0."""
        if not len(self.active):
            return {}
        per_layer = {
            "activation_rate": self.active / self.tokens,
            "span": self.span / self.histogram.sum(-1).clamp(min=1),
            "span_p95": torch.stack([span_quantile(counts, 0.95) for counts in self.histogram]),
            "memory_fill": self.fill / self.active.clamp(min=1),
        }
        values = {f"{name}/layer_{i}": v.float() for name, row in per_layer.items() for i, v in enumerate(row)}
        return {"activation_rate": per_layer["activation_rate"].mean().float(), **values}


class Reach:
    """The `attention_span` of causal streams that are read in segments: each token's reaches back over them."""

    def __init__(self, memory_sizes: Sequence[int]):
        self.memory_sizes = memory_sizes
        self.read = 0
        self.held: list[tuple[Tensor, Tensor]] = []  # of each layer: rows and positions of their last w active tokens

    def __call__(self, activations: list[Activation]) -> list[tuple[Tensor, Tensor]]:
        """Each layer's spans and fills in the next segment, one value per active token in order of row and position."""
        if not self.held:
            empty = activations[0].active.new_zeros(0, dtype=torch.long) if activations else torch.zeros(0)
            self.held = [(empty, empty)] * len(activations)
        found, held = [], []
        for activation, before, w in zip(activations, self.held, self.memory_sizes, strict=True):
            packing = pack(activation.active, offset=self.read)
            row, position = torch.cat([before[0], packing.row]), torch.cat([before[1], packing.position])
            order = row.argsort(stable=True)
            row, position = row[order], position[order]
            counts = torch.bincount(row, minlength=len(activation.active))
            last = counts.cumsum(0)[row] - 1  # the slot of each one's row's last token
            span, fill = span_of(position, last + 1 - counts[row], last, w, bidirectional=False)
            new = order >= len(before[0])
            found.append((span[new], fill[new]))
            kept = torch.arange(len(row), device=row.device) > last - w
            held.append((row[kept], position[kept]))
        self.held = held
        self.read += activations[0].active.shape[1] if activations else 0
        return found


def activation_metric_names(layers: int) -> list[str]:
    """The names that `ActivationMetrics.compute` returns for so many activating layers."""
    if not layers:
        return []
    kinds = ("activation_rate", "span", "span_p95", "memory_fill")
    return ["activation_rate", *(f"{kind}/layer_{i}" for kind in kinds for i in range(layers))]


SPAN_BINS, BINS_PER_OCTAVE = 64 * 32, 64  # up to 2^32 tokens, each bin 1.1 % wide


def span_bin(span: Tensor) -> Tensor:
    """Spans (n,) >= 0 -> number of their bin, geometric in 1 + span."""
    return (torch.log2(1 + span.double()) * BINS_PER_OCTAVE).long().clamp(max=SPAN_BINS - 1)


def span_quantile(counts: Tensor, q: float) -> Tensor:
    """The span (a bin's lower end: exact to 1.1 % of 1 + span) that a share q of those counted stays within."""
    rank = torch.searchsorted(counts.cumsum(0), q * counts.sum())
    return torch.where(counts.sum() > 0, 2.0 ** (rank / BINS_PER_OCTAVE) - 1, 0.0)


CLASSES = 16
"""No task has more classes of tokens."""


class ClassRates(Metric):
    """Which tokens each layer activates: the share of each class of token, such as digits,
    operators and brackets."""

    full_state_update = False
    tokens: Tensor
    active: Tensor

    def __init__(self, layers: int):
        super().__init__()
        self.add_state("tokens", torch.zeros(CLASSES, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("active", torch.zeros(layers, CLASSES, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, activations: list[Activation], classes: Tensor, left_out: Tensor | None = None) -> None:
        """classes (B, L): number of each token's class, below `CLASSES`; left_out (B, L): True = does not count."""
        counted = torch.ones_like(classes, dtype=torch.bool) if left_out is None else ~left_out
        self.tokens += torch.bincount(classes[counted], minlength=CLASSES)
        for i, activation in enumerate(activations):
            self.active[i] += torch.bincount(classes[activation.active & counted], minlength=CLASSES)

    def compute(self, names: Sequence[str]) -> dict[str, Tensor]:  # type: ignore[override]  # torchmetrics passes them on
        """`activation_rate_of_<class>/layer_<i>` of the classes that occur."""
        rates = (self.active / self.tokens).float()
        return {
            f"activation_rate_of_{name}/layer_{i}": row[c]
            for c, name in enumerate(names)
            if self.tokens[c]
            for i, row in enumerate(rates)
        }


class BitsByPosition(Metric):
    """Bits per byte: over all scored bytes, and by how many bytes of the block were read before."""

    full_state_update = False
    bits: Tensor
    scored: Tensor

    def __init__(self, longest: int):
        super().__init__()
        for name in ("bits", "scored"):  # by place in the block; float64 counts exactly
            self.add_state(name, torch.zeros(longest, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, nats: Tensor, scored: Tensor) -> None:
        """nats (B, L) of each byte, scored (B, L) bool: which of them count."""
        length = nats.shape[1]
        self.bits[:length] += (nats.double() * scored).sum(0) / math.log(2)
        self.scored[:length] += scored.sum(0)

    def compute(self) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Bits per byte of all; of each place in the block (longest,), nan where none was scored; and of those
        that n or more, but fewer than 4n, bytes of the block were read before, for n = 1, 4, 16, ..."""
        ranges, n = {}, 1
        while n <= len(self.bits):  # place i has read i + 1 bytes
            here = slice(n - 1, 4 * n - 1)
            if self.scored[here].sum() > 0:
                ranges[n] = (self.bits[here].sum() / self.scored[here].sum()).float()
            n *= 4
        return self.bits.sum() / self.scored.sum(), (self.bits / self.scored).float(), ranges
