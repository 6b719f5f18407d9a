"""`seqboat bench`: the layer beside the textbook, torch's transformer layer, and what the machine can do at best."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES, layer_and_input, matmul_flops, training_step, variant
from benchmarks.measure import in_own_process, machine, matmul_rate, peak_bytes, seconds, side_by_side
from benchmarks.overhead import overhead

DOCS = Path(__file__).parents[1] / "docs"
SHAPES = ("listops", "image", "pathx", "enwik8")


def main(quick: bool = False) -> None:
    """Measures everything, prints tables, writes docs/bench.json and docs/bench.png.

    `quick` leaves out what takes minutes: lengths above 4k, memory, and the long context.
    """
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"[bold]{machine()}[/]")
    result: dict[str, Any] = {"command": "make bench", "machine": machine(), "matmul_flops_per_second": matmul_rate()}
    console.print(f"large float32 matmul: {result['matmul_flops_per_second'] / 1e9:.0f} GFLOP/s")
    result["shapes"] = [_shape(name, result["matmul_flops_per_second"]) for name in SHAPES]
    console.print(_table("forward + backward, seconds side by side (medians of 5)", result["shapes"]))
    result["lengths"] = [
        _length(name) for name in CASES if "k-" in name and (not quick or (name[0] in "14" and name[1] == "k"))
    ]
    console.print(_table("one layer of the Path-X recipe by length and activation", result["lengths"]))
    result["ratios"] = _ratios(quick)
    console.print(_table("ratios", result["ratios"]))
    result["streaming"] = in_own_process("streaming", "1000", *(() if quick else ("100000",)))
    console.print(_table("streaming, 12 layers of width 512", result["streaming"]))
    result["overhead"] = overhead()
    console.print(_table("training lra/listops_short", [result["overhead"]]))
    if quick:
        return
    result["recipes"] = [in_own_process("recipe", "lra/pathx")]
    console.print(_table("a training step of a whole recipe", result["recipes"]))
    DOCS.mkdir(exist_ok=True)
    (DOCS / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    _figure(result).savefig(DOCS / "bench.png", dpi=120)
    print(f"wrote {DOCS}/bench.json and bench.png")


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
        "peak MB": peak_bytes(name, "ours") / 1e6,
    }


def _ratios(quick: bool) -> list[dict[str, Any]]:
    image = {name: layer_and_input(CASES[name]) for name in ("image-10%", "image-100%")}
    times = side_by_side({name: (lambda m=m, x=x: training_step(m, x)) for name, (m, x) in image.items()})
    rows = [{"what": "image, 100 % active / 10 % active, time", "ratio": times["image-100%"] / times["image-10%"]}]
    path = {name: layer_and_input(CASES[name]) for name in ("pathx", "pathx-16k")}
    times = side_by_side({name: (lambda m=m, x=x: training_step(m, x)) for name, (m, x) in path.items()})
    rows.append({"what": "Path-X, L 16,384 / 8,192, time", "ratio": times["pathx-16k"] / times["pathx"]})
    if not quick:
        ours, longer, textbook = (
            peak_bytes(*p) for p in (("pathx", "ours"), ("pathx-16k", "ours"), ("pathx", "textbook"))
        )
        rows.append({"what": "Path-X, L 16,384 / 8,192, peak memory", "ratio": longer / ours})
        rows.append({"what": "Path-X, textbook / ours, peak memory", "ratio": textbook / ours})
        rows.append(
            {"what": "L 131,072, one layer d 128, training step, GB", "ratio": peak_bytes("long", "ours") / 1e9}
        )
    return rows


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(
            *(v if isinstance(v, str) else f"{v:,}" if isinstance(v, int) else f"{v:.3g}" for v in row.values())
        )
    return table


def _figure(result: dict[str, Any]) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    kinds = ("ours", "textbook", "transformer", "never", "always", "limit")
    for i, kind in enumerate(kinds):
        places = [n + (i - 2.5) * 0.13 for n in range(len(result["shapes"]))]
        left.bar(places, [row[kind] for row in result["shapes"]], 0.13, label=kind)
    left.set_xticks(
        range(len(result["shapes"])), [f"{row['recipe']}\n{row['shape'].split(', d')[0]}" for row in result["shapes"]]
    )
    left.set_yscale("log")
    left.set_ylabel("seconds, forward + backward")
    left.legend(fontsize=8)
    for rate in sorted({row["active"] for row in result["lengths"]}):
        rows = [row for row in result["lengths"] if row["active"] == rate]
        right.loglog(
            [r["L"] for r in rows], [r["forward+backward"] for r in rows], marker="o", label=f"{rate:.0%} active"
        )
    right.set_xlabel("length")
    right.set_ylabel("seconds, forward + backward (Path-X recipe, one layer)")
    right.grid(alpha=0.3)
    right.legend()
    figure.suptitle(result["machine"], fontsize=9)
    return figure


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
