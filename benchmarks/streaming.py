"""`python -m benchmarks.streaming CONTEXT ...`: cost of one streamed token after each context; one JSON line."""

import json
import sys
from collections.abc import Sequence

import torch

from benchmarks.measure import DEVICE, REPEATS, seconds
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn import SeqBoat
from seqboat_lab.nn.layer import LayerState
from seqboat_lab.training.results import peak_memory

STREAM = ModelConfig(
    layers=12, d_model=512, d_hidden=1024, d_attention=128, memory_size=256, bidirectional=False, position="rotary",
    prenorm=True, dropout=0.0,
)  # fmt: skip
TOKENS = 50


def main(contexts: Sequence[int]) -> list[dict[str, float]]:
    """Seconds per token, size of the state and the process's peak memory after contexts of these lengths, which are
    really read, in blocks."""
    torch.manual_seed(0)
    model = SeqBoat(STREAM).eval().to(DEVICE)
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


def _copy_seconds(model: SeqBoat) -> float:
    """Of as many bytes as the weights have: each token reads them once."""
    weights, target = torch.randn(2, sum(p.numel() for p in model.parameters()), device=DEVICE)
    return seconds(lambda: target.copy_(weights))


def _bytes(state: list[LayerState]) -> int:
    tensors = [t for layer in state for t in (layer.ssm, *layer.memory)]
    return sum(t.numel() * t.element_size() for t in tensors)


if __name__ == "__main__":
    print(json.dumps(main([int(context) for context in sys.argv[1:]])))
