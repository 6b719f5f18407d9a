"""`python -m benchmarks.operations`: what one layer asks of the device in a training step.

On a GPU every operation that is no view is at least one kernel, launched by the CPU in some microseconds; small layers
are bound by their number."""

from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.cases import CASES, layer_and_input, mixer_config, training_step
from benchmarks.measure import DEVICE
from benchmarks.tables import TITLES, table
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.nn.mixers import make_layer

VIEWS = {
    "alias", "as_strided", "detach", "expand", "permute", "select", "slice", "split", "split_with_sizes", "squeeze",
    "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "view_as_complex", "view_as_real", "_conj",
    "_unsafe_view",
}  # fmt: skip
WAITS = {"nonzero", "_local_scalar_dense", "masked_select"}


class Count(TorchDispatchMode):
    """The operations that reach a device while it is active, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    def of(self, names: set[str]) -> int:
        return sum(count for name, count in self.names.items() if name in names)


def operations(kind: str, shape: str = "listops") -> dict[str, Any]:
    """Of forward and backward of one layer of this kind at a recipe's shape, one sequence."""
    case = CASES[shape]
    case = replace(case, config=replace(case.config, attention_backend="sdpa"))  # as on a GPU; watched, nothing is in C
    if kind == "seqboat":
        layer, x = layer_and_input(case)
    else:
        torch.manual_seed(0)
        layer = make_layer(mixer_config(kind, case).layer(0), 0).to(DEVICE)
        x = torch.randn(1, case.length, case.config.d_model, device=DEVICE, requires_grad=True)
    with Count() as forward, torch.no_grad():
        layer(x[:1])
    x = x[:1].detach().requires_grad_()
    with Count() as both:
        training_step(layer, x)
    return {
        "mixer": kind,
        "forward": sum(forward.names.values()),
        "forward+backward": sum(both.names.values()),
        "without views": sum(both.names.values()) - both.of(VIEWS),
        "waits": both.of(WAITS),
    }


if __name__ == "__main__":
    Console(width=120).print(table(TITLES["operations"], [operations(kind) for kind in MIXER_CONFIGS]))
