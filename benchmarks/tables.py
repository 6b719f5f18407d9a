"""What a benchmark found: tables for the terminal and for docs/results_speed.md, and a figure."""

from typing import Any

import matplotlib.pyplot as plt
from rich.table import Table

from seqboat_lab.analysis.markdown import markdown_table

TITLES = {
    "shapes": "Forward + backward of one layer, seconds side by side (medians of 9)",
    "history": "The layer of earlier commits beside today's: seconds and MB of tensors a training step (medians of 21)",
    "mixers": "Forward + backward of one layer of every kind at the four shapes, seconds",
    "memory": "MB of tensors that a training step of one layer holds at one time, at the four shapes",
    "ratios": "Ratios",
    "backends": "model.attention_backend on the softmax recipes (seconds side by side, medians of 9)",
    "lengths": "One layer of the Path-X recipe by length and activation (seconds, peak memory)",
    "streaming": "Streaming, 12 layers of width 512",
    "weights": "Streaming, 12 layers of width 512: a token of one stream, and of eight at once, by the weights' type",
    "recipes": "A training step of a whole recipe",
    "operations": "What one layer of the ListOps shape dispatches in a training step, and how often the CPU waits",
    "overhead": "Training lra/listops_short: the framework beside a plain loop (median of 3 runs)",
}
NOTES = (
    "`limit`: the layer's own matmul FLOPs at the rate of a large matmul on this machine in the same run, without "
    "SSM, norms and all elementwise work. `textbook`: the layer as first written down from its equations "
    "(benchmarks/textbook.py), equal to ours. `transformer`: torch's TransformerEncoderLayer of the same width "
    "(SDPA). `never` and `always`: our layer with no and with every token active. "
    "Mixers (docs/mixers.md) have the shape's width and direction and heads of about 64 channels; `/ limit`: how many "
    "times longer than their counted FLOPs take at the rate of a large matmul. They are medians of 3, of what takes "
    "more than 2 seconds the first run. "
    "Peak memory: the tensors that a training step holds at one time, as torch's allocator counts them."
)


def cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def markdown(result: dict[str, Any]) -> str:
    """All tables, with the command and the machine."""
    rate = result["matmul_flops_per_second"] / 1e9
    machine = f"Machine: {result['machine']}, large float32 matmul {rate:.0f} GFLOP/s"
    head = f"Command: `{result['command']}`  \n{machine}"
    parts = ["# Speed and memory of the layer", head, "![Seconds by shape, and by length](bench.png)", NOTES]
    for key, title in TITLES.items():
        rows = result[key]
        if not rows:  # not measured on this device
            continue
        parts += [
            f"## {title}",
            markdown_table(list(rows[0]), [list(map(cell, row.values())) for row in rows]).rstrip(),
        ]
    return "\n\n".join(parts) + "\n"


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    shown = Table(title=title, title_justify="left")
    for name in rows[0]:
        shown.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        shown.add_row(*map(cell, row.values()))
    return shown


def figure(result: dict[str, Any]) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    kinds = ("ours", "textbook", "transformer", "never", "always", "limit")
    for i, kind in enumerate(kinds):
        places = [n + (i - 2.5) * 0.13 for n in range(len(result["shapes"]))]
        left.bar(places, [row[kind] for row in result["shapes"]], 0.13, label=kind)
    left.set_xticks(
        range(len(result["shapes"])), [f"{row['recipe']}\n{row['shape'].split(', d')[0]}" for row in result["shapes"]]
    )
    left.set_yscale("log")
    left.set_title("one layer of four recipes", fontsize=10)
    left.set_ylabel("seconds, forward + backward")
    left.legend(fontsize=8)
    for rate in sorted({row["active"] for row in result["lengths"]}):
        rows = [row for row in result["lengths"] if row["active"] == rate]
        right.loglog(
            [r["L"] for r in rows], [r["forward+backward"] for r in rows], marker="o", label=f"{rate:.0%} active"
        )
    right.set_xlabel("length")
    right.set_title("one layer of the Path-X recipe", fontsize=10)
    right.set_ylabel("seconds, forward + backward")
    right.grid(alpha=0.3)
    right.legend()
    figure.suptitle(result["machine"], fontsize=9)
    return figure
