"""What a model is given, and what it must know about a task."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

IGNORED = -100
"""Label of a position that is not to be scored."""


class Batch(NamedTuple):
    """What a model is given."""

    inputs: torch.Tensor
    """(B, L) int64 ids or float32 real values; pairs (2B, L): all first documents, then all second ones."""
    padding_mask: torch.Tensor | None
    """(B, L) bool like `inputs`, True = padding; None when nothing is padded, and of text, whose labels tell."""
    labels: torch.Tensor
    """(B,) int64 class; of text and single tokens (B, L), the right answer, `IGNORED` where none is to be scored."""
    fresh: bool = True
    """The rows begin here, with no state; False: they go on where the last batch of the same rows ended."""

    def real(self) -> torch.Tensor:
        """(B, L) bool: tokens that are not padding."""
        if self.padding_mask is not None:
            return ~self.padding_mask
        return torch.ones(self.inputs.shape[:2], dtype=torch.bool, device=self.inputs.device)


@dataclass(frozen=True)
class TaskSpec:
    """What a model must know about a task."""

    vocab_size: int | None
    """Number of ids (id 0 = padding, but in text, which has none); None for real-valued inputs."""
    num_classes: int
    """Labels are 0 ... num_classes - 1."""
    head: Literal["classifier", "pair", "language_model", "tokens"]
    """What the network ends in."""
    max_length: int
    """No sequence is longer."""

    @property
    def vocabulary_per_token(self) -> int:
        """Logits that the model gives for every token; 0 if it gives some only for whole sequences."""
        return self.num_classes if self.head in ("language_model", "tokens") else 0
