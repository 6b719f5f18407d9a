"""`python -m benchmarks.memory CASE KIND`: memory of one training step; one JSON line."""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cases import CASES, layer_and_input, training_step, variant
from benchmarks.measure import DEVICE
from seqboat_lab.training.results import peak_memory


def main(case: str, kind: str) -> None:
    layer, x = layer_and_input(CASES[case])
    module = variant(kind, layer)
    training_step(module, x)
    process = peak_memory()
    module.zero_grad()
    x.grad = None
    tensors = peak_of_tensors(lambda: training_step(module, x))
    print(json.dumps({"tensor_bytes": tensors, "process_bytes": process}))


def peak_of_tensors(run: Callable[[], object]) -> int:
    """The most bytes of tensors that `run` holds at one time, besides those that were there before it.

    Counted from the allocator's own record, so it is the same in every run; what the heap keeps for later is not in it.
    """
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


if __name__ == "__main__":
    main(*sys.argv[1:])
