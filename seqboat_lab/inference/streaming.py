"""A long text through the recurrent state of a language model: no block boundary, constant memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqboat_lab.nn import LanguageModel
from seqboat_lab.nn.layer import LayerState
from seqboat_lab.nn.models import ModelOutput
from seqboat_lab.training.metrics import ActivationMetrics, Reach
from seqboat_lab.training.modules.language_modelling import nats

SEGMENT = 8192  # bytes of one forward; decides memory and speed, not the result


@dataclass(frozen=True)
class StreamResult:
    """Of a whole text."""

    bpc: float
    """Bits per byte."""
    bpc_after: dict[int, float]
    """Bits per byte of the bytes that n or more, but fewer than 4n, bytes were read before, n = 1, 4, 16, ..."""
    activation: dict[str, float]
    """As `ActivationMetrics` names them."""


class Piece(NamedTuple):
    """A segment that was read."""

    start: int
    out: ModelOutput
    reach: list[tuple[Tensor, Tensor]]
    """Each layer's `attention_span`, which reaches back over segments as the model does."""


@torch.no_grad()
def read(model: LanguageModel, ids: np.ndarray, segment: int = SEGMENT) -> Iterator[Piece]:
    """Ids (n,) through the recurrent state, in segments. The model is to be in evaluation mode."""
    reach = Reach(ActivationMetrics(model.encoder.config).memory_sizes)
    state = model.init_state(1)
    for start in range(0, len(ids), segment):
        piece = torch.from_numpy(ids[start : start + segment].astype(np.int64)).to(model.embedding.weight.device)
        out = model(piece[None], state)
        state = out.state
        yield Piece(start, out, reach(out.activations))


@torch.no_grad()
def stream(model: LanguageModel, text: np.ndarray, segment: int = SEGMENT) -> StreamResult:
    """Predict every byte of `text` (n + 1,) uint8 but the first from all bytes before it.

    The model is to be in evaluation mode.
    """
    device = model.embedding.weight.device
    activation = ActivationMetrics(model.encoder.config).to(device)
    bits = torch.zeros(32, dtype=torch.float64, device=device)  # of places 4^k to 4^(k+1)
    count = torch.zeros_like(bits)
    for start, out, reach in read(model, text[:-1], segment):
        stop = start + out.logits.shape[1]
        following = torch.from_numpy(text[start + 1 : stop + 1].astype(np.int64)).to(device)
        lost = nats(out.logits, following[None])[0].double() / math.log(2)  # (segment,)
        seen = torch.arange(start + 1, stop + 1, device=device, dtype=torch.float64)
        place = (torch.log2(seen) / 2).long()
        bits.index_add_(0, place, lost)
        count.index_add_(0, place, torch.ones_like(lost))
        activation.update(out.activations, reach=reach)
    after = {4**k: (bits[k] / count[k]).item() for k in range(len(bits)) if count[k]}
    values = {name: value.item() for name, value in activation.compute().items()}
    return StreamResult((bits.sum() / count.sum()).item(), after, values)


@torch.no_grad()
def prefill(model: LanguageModel, prompt: Tensor, segment: int = SEGMENT) -> tuple[Tensor, Tensor, list[LayerState]]:
    """Read a prompt (n,) of at least one id.

    Returns: logits (vocabulary,) of the next byte, what each deciding layer activates
    (layers, n) bool, the state behind the prompt.
    """
    state, active = model.init_state(1), []
    for piece in prompt.split(segment):
        out = model(piece.unsqueeze(0), state)
        state = out.state
        none = piece.new_zeros(0, len(piece), dtype=torch.bool)
        active.append(torch.stack([a.active[0] for a in out.activations]) if out.activations else none)
    return out.logits[0, -1], torch.cat(active, dim=1), state
