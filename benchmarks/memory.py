"""`python -m benchmarks.memory CASE KIND`: peak memory that one training step adds to the process; one JSON line."""

import json
import sys

import torch

from benchmarks.cases import CASES, layer_and_input, training_step, variant
from benchmarks.measure import DEVICE
from seqboat_lab.training.results import peak_memory


def main(case: str, kind: str) -> None:
    layer, x = layer_and_input(CASES[case])  # runs it once, without gradients: less than a training step holds
    module = variant(kind, layer)
    before = memory_now()
    training_step(module, x)
    print(json.dumps({"peak_bytes": max(0, peak_memory() - before), "process_bytes": peak_memory()}))


def memory_now() -> int:
    """Bytes at this moment: allocated on the GPU, or resident (Linux)."""
    if DEVICE == "cuda":
        return torch.cuda.memory_allocated()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


if __name__ == "__main__":
    main(*sys.argv[1:])
