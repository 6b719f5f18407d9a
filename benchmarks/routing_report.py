"""docs/results_routing.md from the runs that `benchmarks.routing` left.

.venv/bin/python -m benchmarks.routing_report
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.measure import machine
from benchmarks.recall import finished
from benchmarks.routing import PRICES, RATES, TASKS, Task, arms, results
from seqboat_lab.analysis.markdown import markdown_table
from seqboat_lab.analysis.statistics import estimate
from seqboat_lab.config import load_experiment
from seqboat_lab.training.results import code_version

PAGE = Path("docs/results_routing.md")
NOTES = """## What it says

Read on 26 November 2026, when ListOps had five seeds of every cell.

- On ListOps attention is worth two points, with every token or with half of them. At equal rate no learned decision can
  be told from a random one, and credit is within the noise everywhere; at a rate of 0.1 nothing of the two
  points is left.
- A dial that leaves each layer the same rate is no help there: paying (`cost`) leaves the first layer almost without
  attention and the second with half of its tokens, at the same quality.
- What recall shows, that a router finds the tokens that matter, needs a task in which few tokens do.
"""
Runs = dict[str, dict[int, dict]]
"""Cell -> seed -> what its run measured."""


def load(name: str) -> Runs:
    found: Runs = defaultdict(dict)
    for row in finished(results(name)):
        found[row["arm"]][row["seed"]] = row
    return {arm: found[arm] for arm in arms(TASKS[name]) if arm in found}


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Mean and half the width of its 95 % interval."""
    found = estimate(values)
    return show(found.mean) + (f" ± {show(found.half)}" if found.runs > 1 else "")


def shown(task: Task) -> Callable[[float], str]:
    """Quality as the table has it: percent of an accuracy, bits of a text."""
    return (lambda value: f"{value:.3f}") if task.metric == "bpc" else (lambda value: f"{100 * value:.1f}")


def qualities(task: Task, found: Runs) -> str:
    rows = []
    for name, runs in found.items():
        each = list(runs.values())
        layers = " / ".join(
            f"{100 * statistics.mean(r):.0f}" for r in zip(*(run["rates"] for run in each), strict=True)
        )
        rows.append((
            name, spread([run[task.metric] for run in each], shown(task)),
            spread([run["rate"] for run in each], lambda value: f"{100 * value:.1f}"), layers, str(len(each)),
        ))  # fmt: skip
    quality = "bits per byte" if task.metric == "bpc" else "accuracy, %"
    return markdown_table(("decisions, rate or price", quality, "active, %", "of each layer", "seeds"), rows)


def differences(task: Task, found: Runs) -> str:
    """What seeds that two cells have in common say of their difference."""
    pairs = [(f"{kind}+credit {x:g}", f"{kind} {x:g}")
             for kind, values in (("capacity", RATES), ("cost", PRICES)) for x in values]  # fmt: skip
    pairs += [(f"{kind} {rate:g}", f"random {rate:g}") for rate in RATES for kind in ("capacity", "capacity+credit")]
    pairs += [(f"{kind} {rate:g}", "never") for rate in RATES for kind in ("random", "capacity", "capacity+credit")]
    pairs += [("as published", "always"), ("as published", "never"), ("always", "never")]
    rows = []
    for name, other in pairs:
        seeds = sorted(found.get(name, {}).keys() & found.get(other, {}).keys())
        if len(seeds) < 2:
            continue
        by_seed = [found[name][s][task.metric] - found[other][s][task.metric] for s in seeds]
        difference = estimate(by_seed)
        rows.append(
            (
                name,
                other,
                spread(by_seed, shown(task)),
                "no" if difference.low <= 0 <= difference.high else "yes",
                str(len(seeds)),
            )
        )
    return markdown_table(("decisions", "against", "difference in quality", "0 outside of the interval", "seeds"), rows)


def kinds(found: Runs) -> str:
    """Which kinds of token the learned decisions choose, mean over layers and seeds."""
    names = sorted({name.split("/")[0] for runs in found.values() for run in runs.values() for name in run["by_class"]})
    rows = []
    for name, runs in found.items():
        if name.startswith(("capacity", "cost", "as published")):
            shares = []
            for kind in names:
                values = [v for run in runs.values() for k, v in run["by_class"].items() if k.split("/")[0] == kind]
                shares.append(f"{100 * statistics.mean(values):.0f}" if values else "")
            rows.append((name, *shares))
    return markdown_table(("decisions", *(f"{name.split('_of_')[1]}, %" for name in names)), rows) if names else ""


def section(name: str) -> str:
    task, found = TASKS[name], load(name)
    if not found:
        return ""
    config = load_experiment(task.experiment, list(task.overrides))
    seconds = sum(run["cpu_seconds"] for runs in found.values() for run in runs.values())
    settings = ", ".join(f"`{each}`" for each in task.overrides)
    of_kinds = kinds(found)
    chosen = (
        f"Share of each kind of token that is active, mean over layers and seeds:\n\n{of_kinds}\n" if of_kinds else ""
    )
    return f"""## {task.experiment}

`python -m benchmarks.routing {name}`: `configs/{task.experiment}.yaml` with {settings}, {config.trainer.max_steps:,}
updates; the whole validation split after the last one. {seconds / 3600:.1f} CPU hours.

{qualities(task, found)}
Differences between runs of the same seed:

{differences(task, found)}
{chosen}"""


def main() -> None:
    torch.set_num_threads(1)  # as the runs had
    text = f"""# Where attention matters less: ListOps and text

CPU-sized and ours. The cells of [noisy recall](results_recall.md) on two tasks that a small model learns much of
without attention. `capacity` has the rate of its name, and while it falls a price of 0.01; `cost` is tempered softmax
with a price of that much x mean probability of activation; `credit` is `model.confidence_on=output_and_value`;
`as published` is the configuration's own tempered softmax. ± is half the width of a 95 % interval (Student's t over
seeds). `python -m benchmarks.routing_report` writes this page from the runs in `docs/results_routing_*.jsonl`.

{"".join(map(section, TASKS))}
{NOTES}
On {machine()}; page written by {code_version()}.
"""
    PAGE.write_text(text)
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
