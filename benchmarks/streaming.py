"""`python -m benchmarks.streaming CONTEXT ...`: cost of one streamed token after each context; one JSON line.

`python -m benchmarks.streaming weights`: with weights in float32, bf16 and int8, for several streams at once.
"""

import copy
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.measure import DEVICE, REPEATS, seconds, side_by_side
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.inference.weights import WEIGHTS, with_weights
from seqboat_lab.nn import SeqBoat
from seqboat_lab.nn.layer import LayerState
from seqboat_lab.training.results import peak_memory

STREAM = ModelConfig(
    layers=12, d_model=512, d_hidden=1024, d_attention=128, memory_size=256, bidirectional=False, position="rotary",
    prenorm=True, dropout=0.0,
)  # fmt: skip
TOKENS = 50
STREAMS = (1, 8)


def main(contexts: Sequence[int]) -> list[dict[str, float]]:
    """Seconds per token, size of the state and the process's peak memory after contexts of these lengths, which are
    really read, in blocks."""
    torch.manual_seed(0)
    model = SeqBoat(STREAM).eval().requires_grad_(False).to(DEVICE)
    results = []
    with torch.no_grad():
        state, read = model.init_state(1), 0
        for context in sorted(contexts):
            while read < context:
                block = min(1000, context - read)
                _, outputs = model(torch.randn(1, block, STREAM.d_model, device=DEVICE), state=state)
                state, read = [out.state for out in outputs], read + block
            holder = [state]

            def tokens(holder: list[list[LayerState]] = holder) -> None:
                for _ in range(TOKENS):
                    _, _, holder[0] = model.step(torch.randn(1, STREAM.d_model, device=DEVICE), holder[0])

            per_token = seconds(tokens) / TOKENS
            state, read = holder[0], read + (REPEATS + 1) * TOKENS
            memory = {"state MB": _bytes(state) / 1e6, "process MB": peak_memory() / 1e6}
            row = {"context": context, "seconds per token": per_token, "tokens/s": 1 / per_token}
            results.append(row | {"token / copy of the weights": per_token / _copy_seconds(model)} | memory)
    return results


@torch.no_grad()
def weights() -> list[dict[str, Any]]:
    """Of each kind of weights: their size, and the time of one token of every one of so many streams, side by side."""
    torch.manual_seed(0)
    model = SeqBoat(STREAM).eval().to(DEVICE)
    models = {kind: with_weights(copy.deepcopy(model), kind) for kind in WEIGHTS}
    rows: dict[str, dict[str, Any]] = {
        kind: {"weights": kind, "MB": _size(list(model.state_dict().values())) / 1e6} for kind, model in models.items()
    }
    for streams in STREAMS:
        x = torch.randn(TOKENS, streams, STREAM.d_model, device=DEVICE)
        times = side_by_side({kind: _tokens(model, x) for kind, model in models.items()})
        for kind, row in rows.items():
            row[f"{streams} at once, s"] = times[kind] / TOKENS
            row[f"{streams} at once, / float32"] = times[kind] / times["float32"]
    return list(rows.values())


def _tokens(model: Any, x: torch.Tensor) -> Callable[[], None]:
    """Takes x (tokens, streams, d) step by step, and goes on from there the next time."""
    state = model.init_state(x.shape[1])

    def run() -> None:
        nonlocal state
        for token in x:
            _, _, state = model.step(token, state)

    return run


def _copy_seconds(model: SeqBoat) -> float:
    """Of as many bytes as the weights have: each token reads them once."""
    weights, target = torch.randn(2, sum(p.numel() for p in model.parameters()), device=DEVICE)
    return seconds(lambda: target.copy_(weights))


def _bytes(state: list[LayerState]) -> int:
    return _size([t for layer in state for t in (layer.ssm, *layer.memory)])


def _size(tensors: Sequence[torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


if __name__ == "__main__":
    print(json.dumps(weights() if sys.argv[1:] == ["weights"] else main([int(context) for context in sys.argv[1:]])))
