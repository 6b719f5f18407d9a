"""`seqboat bench`: the layer beside the textbook, torch's transformer layer, and what the machine can do at best."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.cases import CASES, Case, layer_and_input, matmul_flops, mixer_config, training_step, variant
from benchmarks.history import LANDED, history
from benchmarks.measure import (
    DEVICE,
    few_seconds,
    in_own_process,
    machine,
    matmul_rate,
    seconds,
    side_by_side,
    step_memory,
)
from benchmarks.operations import operations
from benchmarks.overhead import overhead
from benchmarks.tables import TITLES, figure, markdown, table
from seqboat_lab.analysis.cost import peak_of_tensors
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.nn.cost import cost_per_token, expected_rates
from seqboat_lab.nn.mixers import make_layer

DOCS = Path(__file__).parents[1] / "docs"
SHAPES = ("listops", "image", "pathx", "enwik8")
SHORT_SHAPES = SHAPES[:2]


def main(quick: bool = False) -> None:
    """Measures everything, prints tables, writes docs/bench.json, bench.png and results_speed.md.

    `quick` leaves out what takes minutes: lengths above 4k, memory, and the long context.
    """
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"[bold]{machine()}[/]")
    result: dict[str, Any] = {"command": "make bench", "machine": machine(), "matmul_flops_per_second": matmul_rate()}
    console.print(f"large float32 matmul: {result['matmul_flops_per_second'] / 1e9:.0f} GFLOP/s")
    rate = result["matmul_flops_per_second"]
    lengths = [name for name, case in CASES.items() if "k-" in name and not (quick and case.length > 4096)]
    measure = {
        "shapes": lambda: [_shape(name, rate) for name in SHAPES],
        "history": lambda: [] if quick or DEVICE != "cpu" else history(LANDED),
        "mixers": lambda: [_mixer(kind, SHORT_SHAPES if quick else SHAPES, rate) for kind in MIXER_CONFIGS],
        "memory": lambda: _memory(SHORT_SHAPES if quick else SHAPES),
        "lengths": lambda: [_length(name) for name in lengths],
        "backends": lambda: [_backends(name) for name in ("listops", "enwik8")],
        "streaming": lambda: in_own_process("streaming", "1000", *(() if quick else ("100000",))),
        "weights": lambda: in_own_process("streaming", "weights"),
        "ratios": lambda: _ratios(quick, result["streaming"]),
        "operations": lambda: [operations(kind) for kind in MIXER_CONFIGS],
        "overhead": lambda: [overhead()],
        "recipes": lambda: [] if quick else [in_own_process("recipe", "lra/pathx")],
    }
    for part, rows in measure.items():
        result[part] = rows()
        if result[part]:
            console.print(table(TITLES[part], result[part]))
    if quick:
        return
    DOCS.mkdir(exist_ok=True)
    (DOCS / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    figure(result).savefig(DOCS / "bench.png", dpi=120)
    (DOCS / "results_speed.md").write_text(markdown(result))
    print(f"wrote {DOCS}/bench.json, bench.png and results_speed.md")


def _shape(name: str, rate: float) -> dict[str, Any]:
    case = CASES[name]
    layer, x = layer_and_input(case)
    kinds = ("ours", "textbook", "transformer", "never", "always")
    modules = {kind: variant(kind, layer) for kind in kinds}
    times = side_by_side({kind: (lambda m=module: training_step(m, x)) for kind, module in modules.items()})
    limit = matmul_flops(case) / rate
    shape = f"B {case.batch}, L {case.length}, d {case.config.d_model}, {case.rate:.0%} active"
    speedup = {"textbook / ours": times["textbook"] / times["ours"], "ours / limit": times["ours"] / limit}
    return {"recipe": name, "shape": shape, **times, "limit": limit, **speedup}


def _mixer(kind: str, shapes: Sequence[str], rate: float) -> dict[str, Any]:
    """A layer of this kind at every shape, beside what its counted FLOPs would take at the rate of a large matmul."""
    row: dict[str, Any] = {"mixer": kind}
    for name in shapes:
        case = CASES[name]
        config = mixer_config(kind, case)
        layer, x = _layer_of_kind(kind, case)
        rates = expected_rates(config, otherwise=case.rate)
        counted = cost_per_token(config, case.length, rates, training=True)["total"] * case.batch * case.length
        taken = few_seconds(lambda m=layer, x=x: training_step(m, x))
        row |= {name: taken, f"{name} / limit": taken * rate / counted}
    return row


def _layer_of_kind(kind: str, case: Case) -> tuple[nn.Module, Tensor]:
    if kind == "seqboat":
        return layer_and_input(case)
    config = mixer_config(kind, case)
    torch.manual_seed(0)
    x = torch.randn(case.batch, case.length, config.d_model, device=DEVICE, requires_grad=True)
    return make_layer(config.layer(0), 0).to(DEVICE), x


def _memory(shapes: Sequence[str]) -> list[dict[str, Any]]:
    """MB of the tensors that a training step of each layer holds at one time, by shape."""
    rows: dict[str, dict[str, Any]] = {}
    for name in shapes:
        ours, x = layer_and_input(CASES[name])
        layers = {kind: _layer_of_kind(kind, CASES[name]) for kind in MIXER_CONFIGS}
        layers |= {f"seqboat, {kind}": (variant(kind, ours), x) for kind in ("textbook", "never", "always")}
        for kind, (layer, x) in layers.items():
            training_step(layer, x)
            layer.zero_grad()
            x.grad = None
            held = peak_of_tensors(lambda layer=layer, x=x: training_step(layer, x))
            rows.setdefault(kind, {"layer": kind})[name] = held / 1e6
    return list(rows.values())


def _backends(name: str) -> dict[str, Any]:
    layer, x = layer_and_input(CASES[name])
    modules = {kind: variant(kind, layer) for kind in ("chunks", "matmul", "sdpa")}
    times = side_by_side({kind: (lambda m=module: training_step(m, x)) for kind, module in modules.items()})
    return {"recipe": name, **times, "matmul / chunks": times["matmul"] / times["chunks"]}


def _length(name: str) -> dict[str, Any]:
    case = CASES[name]
    layer, x = layer_and_input(case)
    repeats = 5 if case.length <= 16384 else 3
    with torch.no_grad():
        forward = seconds(lambda: layer(x), repeats)
    both = seconds(lambda: training_step(layer, x), repeats)
    return {
        "L": case.length,
        "active": case.rate,
        "forward": forward,
        "forward+backward": both,
        "peak MB": step_memory(name, "ours")["tensor_bytes"] / 1e6,
    }


def _ratios(quick: bool, streamed: list[dict[str, float]]) -> list[dict[str, Any]]:
    image = {name: layer_and_input(CASES[name]) for name in ("image-10%", "image-100%")}
    times = side_by_side({name: (lambda m=m, x=x: training_step(m, x)) for name, (m, x) in image.items()})
    rows = [{"what": "image, 100 % active / 10 % active, time", "ratio": times["image-100%"] / times["image-10%"]}]
    path = {name: layer_and_input(CASES[name]) for name in ("pathx", "pathx-16k")}
    times = side_by_side({name: (lambda m=m, x=x: training_step(m, x)) for name, (m, x) in path.items()})
    rows.append({"what": "Path-X, L 16,384 / 8,192, time", "ratio": times["pathx-16k"] / times["pathx"]})
    if not quick:
        short, long = (row["seconds per token"] for row in streamed)
        rows.append({"what": "streaming, time per token at context 100,000 / 1,000", "ratio": long / short})
        steps = ("pathx", "ours"), ("pathx-16k", "ours"), ("pathx", "textbook")
        ours, longer, textbook = (step_memory(*step)["tensor_bytes"] for step in steps)
        rows.append({"what": "Path-X, L 16,384 / 8,192, peak memory", "ratio": longer / ours})
        rows.append({"what": "Path-X, textbook / ours, peak memory", "ratio": textbook / ours})
        process = step_memory("long", "ours")["process_bytes"]
        rows.append({"what": "L 131,072, one layer d 128, training step, GB of the process", "ratio": process / 1e9})
    return rows


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
