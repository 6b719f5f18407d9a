"""A long text through the recurrent state of a language model: no block boundary, constant memory."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqboat_lab.nn import LanguageModel
from seqboat_lab.nn.layer import LayerState
from seqboat_lab.nn.models import ModelOutput
from seqboat_lab.nn.packing import span_of
from seqboat_lab.training.metrics import ActivationMetrics
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


@torch.no_grad()
def stream(model: LanguageModel, text: np.ndarray, segment: int = SEGMENT) -> StreamResult:
    """Predict every byte of `text` (n + 1,) uint8 but the first from all bytes before it.

    The model is to be in evaluation mode; the attention spans reach over segments as the model does.
    """
    device = model.embedding.weight.device
    config = model.encoder.config
    activation = ActivationMetrics(config).to(device)
    held = [torch.zeros(0, dtype=torch.long, device=device) for _ in activation.memory_sizes]
    bits = torch.zeros(32, dtype=torch.float64, device=device)  # of places 4^k to 4^(k+1)
    count = torch.zeros_like(bits)
    state = model.init_state(1)
    n = len(text) - 1
    for start in range(0, n, segment):
        piece = torch.from_numpy(text[start : start + segment + 1].astype(np.int64)).to(device)
        out = model(piece[None, :-1], state)
        state = out.state
        lost = nats(out.logits, piece[None, 1:])[0].double() / math.log(2)  # (segment,)
        read = torch.arange(start + 1, start + len(piece), device=device, dtype=torch.float64)
        place = (torch.log2(read) / 2).long()
        bits.index_add_(0, place, lost)
        count.index_add_(0, place, torch.ones_like(lost))
        reach, held = _reach(out, held, start, activation.memory_sizes)
        activation.update(out.activations, reach=reach)
    after = {4**k: (bits[k] / count[k]).item() for k in range(len(bits)) if count[k]}
    values = {name: value.item() for name, value in activation.compute().items()}
    return StreamResult((bits.sum() / count.sum()).item(), after, values)


def _reach(
    out: ModelOutput, held: list[Tensor], start: int, sizes: list[int]
) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """Each layer's `attention_span` in a segment that begins at `start`, behind its `held` last w active positions;
    and the positions that are held after it."""
    reach, after = [], []
    for activation, before, w in zip(out.activations, held, sizes, strict=True):
        position = torch.cat([before, start + activation.active[0].nonzero().squeeze(1)])
        span, fill = span_of(position, 0, len(position) - 1, w, bidirectional=False)
        reach.append((span[len(before) :], fill[len(before) :]))
        after.append(position[-w:])
    return reach, after


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
