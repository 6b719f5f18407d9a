"""`python -m benchmarks.memory CASE KIND`: memory of one training step; one JSON line."""

import json
import sys

from benchmarks.cases import CASES, layer_and_input, training_step, variant
from seqboat_lab.analysis.cost import peak_of_tensors
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


if __name__ == "__main__":
    main(*sys.argv[1:])
