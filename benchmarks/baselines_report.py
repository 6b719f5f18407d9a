"""docs/results_baselines.md from what `benchmarks.baselines` and `benchmarks.lengths` left in docs/.

.venv/bin/python -m benchmarks.baselines_report
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from benchmarks.baselines import DOCS, packed
from benchmarks.baselines_notes import notes
from benchmarks.lengths import LONGEST, RATE, finished
from seqboat_lab.analysis.baselines import FRONT, Best, best_of_each
from seqboat_lab.analysis.describe import in_bytes
from seqboat_lab.analysis.figures.baselines import lengths_figure, quality_figure
from seqboat_lab.analysis.figures.text import label
from seqboat_lab.analysis.markdown import markdown_table
from seqboat_lab.training.results import code_version

TITLES = {
    "recall": "Noisy recall",
    "listops": "ListOps",
    "text": "Text",
    "pathfinder": "Pathfinder",
    "image": "Made-up images",
}
HEAD = """# Compared with what?

Every kind of layer as a whole network at the forward FLOPs of SeqBoat's, on the same data with the same optimiser,
each at the best of three learning rates. **CPU-sized**: small models, minutes of training; the authors' settings are
far larger. It says which mixers learn these tasks fast at this size, and no more.

```
seqboat sweep baselines_recall --workers 2                        # and baselines_listops, _text, _pathfinder, _image
python -m benchmarks.baselines runs/sweeps/baselines_recall --front runs/sweeps/recall_pareto     # keeps it in docs/
python -m benchmarks.lengths                                      # time and state by length, in docs/, too
python -m benchmarks.baselines_report                             # writes this page
```

The last of these needs no runs: it reads `docs/results_baselines_*.jsonl` and `docs/results_lengths.jsonl`.
`notebooks/baselines.ipynb` draws the same. ± is the half width of a 95 % interval over seeds (Student's t).

- Quality is that of the last validation, and so is the choice of the learning rate, among the same seeds: the best of
  three is a little flattered, alike for every mixer.
- FLOPs are per token, at the activation rates that the runs ended with. Training = forward and backward; a `capacity`
  dial starts at 100 %, so SeqBoat's training on recall cost more than is counted.
- Seconds are whole runs with start, data and validations, two at a time with one thread each. Nothing here has a
  kernel of its own: they compare these implementations, not what an accelerator could do.
- Widths are matched as nearly as heads allow (`seqboat match`). What papers give in absolute numbers, such as Mamba's
  state, is as small as the models. No other setting of any mixer was searched, nor of SeqBoat, whose configurations
  come from this repository's own recipes: a home advantage.
"""


def percent(metric: str) -> float:
    return 100.0 if metric.endswith("accuracy") else 1.0


def interval(best: Best, lr: float, metric: str) -> str:
    found, scale = best.by_rate.get(lr), percent(metric)
    if found is None:
        return "failed"
    digits = 1 if scale == 100 else 3
    half = f" ± {scale * found.half:.{digits}f}" if found.runs > 1 else ""
    text = f"{scale * found.mean:.{digits}f}{half}"
    return f"**{text}**" if lr == best.lr else text


def task_part(task: str, rows: Sequence[dict[str, Any]], picture: Path) -> str:
    """Heading, figure and table of one task."""
    found, front = best_of_each(rows), [row for row in rows if row["mixer"] == FRONT]
    metric, direction = rows[0]["metric"], rows[0]["direction"]
    steps = max(row["steps"] or 0 for row in rows if row["mixer"] != FRONT)
    figure = quality_figure(found, front, metric, direction, f"{rows[0]['task']}, {steps:,} updates")
    figure.savefig(picture, dpi=100)
    plt.close(figure)
    rates = sorted({row["lr"] for row in rows if row["lr"] is not None})
    cells = [
        (
            best.mixer,
            *(interval(best, lr, metric) for lr in rates),
            "" if best.activation_rate is None else f"{100 * best.activation_rate:.0f}",
            "" if best.width is None else str(best.width),
            f"{best.parameters:,}",
            f"{best.forward_flops:,.0f}",
            "" if best.training_flops is None else f"{best.training_flops:,.0f}",
            f"{best.seconds.mean:.0f}",
        )
        for best in found
    ]
    name = label(metric).partition(" (")[0]
    head = (
        "mixer",
        *(f"lr {lr:g}" for lr in rates),
        "active, %",
        "width",
        "parameters",
        "FLOPs",
        "in training",
        "seconds",
    )
    missing = sorted({row["mixer"] for row in rows} - {best.mixer for best in found} - {FRONT})
    failed = [f"{best.mixer} {best.failed}" for best in found if best.failed] + [f"{mixer}: all" for mixer in missing]
    seeds = max(best.quality.runs for best in found) if found else 0
    unit = ", %" if percent(metric) == 100 else ""
    return f"""## {TITLES.get(task, task)}

`sweeps/baselines_{task}.yaml`, {steps:,} updates, {seeds} seed{"s" * (seeds != 1)}; {name}{unit} at each
learning rate, the best one in bold and in the other columns; best mixer first.

![Quality against FLOPs and seconds]({picture.name})

{markdown_table(head, cells)}
{f"Failed runs: {', '.join(failed)}." if failed else "No run failed."}
"""


def lengths_part(rows: Sequence[dict[str, Any]], picture: Path) -> str:
    figure = lengths_figure(rows)
    figure.savefig(picture, dpi=100)
    plt.close(figure)
    lengths = sorted({row["length"] for row in rows})
    by_place = {(row["mixer"], row["length"]): row for row in rows}
    mixers = list(dict.fromkeys(row["mixer"] for row in rows))

    def cells(name: str, show: Any) -> list[tuple[str, ...]]:
        found = [[by_place.get((mixer, length), {}).get(name) for length in lengths] for mixer in mixers]
        return [(m, *("-" if v is None else show(v) for v in vs)) for m, vs in zip(mixers, found, strict=True)]

    head = ("mixer", *(f"{length // 1024}k" for length in lengths))
    tables = {
        "Seconds, forward": ("forward", "{:.3g}".format),
        "Seconds, training step (forward and backward)": ("step", "{:.3g}".format),
        "Seconds of a streamed token": ("token", "{:.2g}".format),
        "What a stream carries": ("state_bytes", in_bytes),
        "GFLOPs of a training step, counted": ("training", "{:,.3g}".format),
    }
    for row in rows:
        row["training"] = row["training_flops"] * row["length"] / 1e9
    parts = [f"{title}:\n\n{markdown_table(head, cells(name, show))}" for title, (name, show) in tables.items()]
    return f"""## By length

`python -m benchmarks.lengths`: one causal layer of width 128 with its paper's settings, one sequence of random
tokens, on {rows[0]["machine"]}; SeqBoat with {RATE:.0%} of the tokens active and a working memory of 128. Not measured
(-): passes of more than {LONGEST:.0f} seconds, or more memory than there was, and streams of what has no state.

![Time and state by length]({picture.name})

{chr(10).join(parts)}
"""


def main(docs: Path = DOCS, read: bool = True) -> None:
    """Writes the page; `read`: with what a person read in these results, whose mixers and rates must then be there."""
    tasks = packed(docs)
    order = [task for task in TITLES if task in tasks] + sorted(set(tasks) - set(TITLES))
    parts = [task_part(task, tasks[task], docs / f"baselines_{task}.png") for task in order if tasks[task]]
    rows = finished(docs / "results_lengths.jsonl")
    if rows:
        parts.append(lengths_part(rows, docs / "baselines_lengths.png"))
    page = docs / "results_baselines.md"
    said = [notes(tasks)] if read else []
    page.write_text("\n".join([HEAD, *said, *parts, f"Page written by {code_version()}.\n"]))
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
