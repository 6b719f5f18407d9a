"""docs/results_recall.md from the runs that `benchmarks.recall` left.

.venv/bin/python -m benchmarks.recall_report
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from benchmarks.measure import machine
from benchmarks.recall import CREDIT, EXPERIMENT, RATES, arms, finished
from seqboat_lab.analysis.markdown import markdown_table
from seqboat_lab.analysis.statistics import estimate
from seqboat_lab.config import load_experiment
from seqboat_lab.training.results import code_version

PAGE = Path("docs/results_recall.md")
SHORT_MEMORY = "model.memory_size=16"
NOTES = """## What it says

Read on 26 November 2026.

- **The router learns which tokens matter.** With one budget for both layers, a small price and credit, 15 % activation
  answers every question on every seed, where random decisions answer no more than none at all. Keys, values and
  questions are a quarter of the tokens of one layer, 12.5 % of both: at 10 % there is no room for all of them, and it
  still answers twice as much as chance decisions.
- **It learns which layer needs attention, if the budget lets it.** Nothing told it that one layer is enough. With
  10 % of its own, each layer ends below `never`: the second one wastes what the first one lacks.
- **Credit makes seeds agree.** Without it the same budgets end anywhere between 36 and 100 %.
- **A cost alone is no dial**: by seed, the same price ends at other rates and accuracies tens of points apart.
- **Sparse attention reaches further.** What was trained with w = 64 is run with shorter memories below, which most of
  what lies between question and answer does not fit in. `always` fails as soon as w is less than that distance; sparse
  decisions do not, as long as w holds what they activate. Trained with a short memory from the start, both fail (the
  last table).

## How the schedule was found

One or two seeds each, on 25 November 2026: reasons to try, not results.

- **Reach first.** With a working memory of 32 for 64 tokens, `always` itself got 0.995, 0.69 and 0.71 on three seeds
  in 1,500 updates (16 keys); with one of 64 (8 keys) it is right everywhere after 400. A router cannot be judged
  before that.
- **Undecided tokens start near confidence 1** (`start_confidence`). With w = 32 and 1,500 updates, starting at 1/2 and
  falling between 20 % and 50 % of training gave 0.33 to 0.41 (0.46 with credit); starting at 0.9 and falling between
  40 % and 80 %, 0.58 (0.94 with credit). One seed.
- **A small price sorts the tokens before the rate falls.** With w = 64 and credit but no price, accuracy was 0.998
  before the rate fell and 0.70 after: nothing pushes down what is of no use. With a price of 0.03 from a tenth of
  training on it stays 1.000.
- **Evidence measured from its own quantile**, so that a token at the edge has confidence 1/2, was worse than all else
  (0.20: keys and values are dropped before it is learnt what they are good for), and is not in the code.
"""


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval over seeds, in percent."""
    found = estimate(values)
    if found.runs == 1:
        return f"{100 * found.mean:.1f} (1 seed)"
    return f"{100 * found.mean:.1f} ± {100 * found.half:.1f} ({found.runs} seeds)"


def by_arm(rows: Sequence[dict], overrides: Sequence[str] = ()) -> dict[str, list[dict]]:
    """Runs of the table's cells with these fields changed, and no others."""
    found = defaultdict(list)
    for row in rows:
        if row["overrides"] == list(overrides):
            found[row["arm"]].append(row)
    return {name: sorted(found[name], key=lambda row: row["seed"]) for name in arms() if name in found}


def accuracies(found: dict[str, list[dict]]) -> str:
    rows = []
    for name, runs in found.items():
        right, rate = ([run[key] for run in runs] for key in ("accuracy", "rate"))
        layers = " / ".join(
            f"{100 * statistics.mean(layer):.0f}" for layer in zip(*(r["rates"] for r in runs), strict=True)
        )
        each = ", ".join(f"{100 * value:.0f}" for value in right)
        rows.append((name, interval(right), each, f"{100 * statistics.mean(rate):.1f}", layers))
    return markdown_table(
        ("decisions, rate or price", "accuracy, %", "of each seed", "active, %", "of each layer"), rows
    )


def classes(found: dict[str, list[dict]]) -> str:
    rows = []
    for name, runs in found.items():
        if name.startswith(("shared", "capacity", "cost")) and runs[0]["rate"] < 1:
            for layer in range(len(runs[0]["rates"])):
                shares = [run["by_class"][layer] for run in runs]
                cells = (f"{100 * statistics.mean(s[kind] for s in shares):.0f}" for kind in shares[0])
                rows.append((name, str(layer), *cells))
    kinds = next(iter(found.values()))[0]["by_class"][0]
    return markdown_table(("decisions", "layer", *(f"{kind}, %" for kind in kinds)), rows)


def memories(found: dict[str, list[dict]]) -> str:
    measured = {name: [run["by_memory"] for run in runs if "by_memory" in run] for name, runs in found.items()}
    sizes = next((list(runs[0]) for runs in measured.values() if runs), [])
    rows = []
    for name, runs in measured.items():
        if runs and not name.startswith("never"):
            means = (f"{100 * statistics.mean(run[size] for run in runs):.1f}" for size in sizes)
            rows.append((name, *means, str(len(runs))))
    return markdown_table(("decisions", *(f"w = {size}" for size in sizes), "seeds"), rows)


def draw(found: dict[str, list[dict]], path: Path) -> None:
    """Accuracy against activation rate, a line for each kind of decision: means, and 95 % intervals over seeds."""
    lines = defaultdict(list)
    for name, runs in found.items():
        kind, _, rest = name.partition(" ")
        lines[kind if "," not in rest else "capacity+credit, layer 0 alone" * ("layer" in rest)].append(runs)
    figure, axis = plt.subplots(figsize=(7.5, 4.8))
    for number, kind in enumerate(kind for kind in lines if kind):
        points = sorted(
            (statistics.mean(r["rate"] for r in runs), [r["accuracy"] for r in runs]) for runs in lines[kind]
        )
        rates, right = [100 * rate for rate, _ in points], [estimate(values) for _, values in points]
        half = [0 if found.runs == 1 else found.half for found in right]
        low = [100 * min(h, found.mean) for h, found in zip(half, right, strict=True)]
        high = [100 * min(h, 1 - found.mean) for h, found in zip(half, right, strict=True)]
        style = {
            "marker": "osD^vP*X"[number % 8],
            "capsize": 3,
            "linestyle": "none" if kind.startswith("cost") else "-",  # a price is no rate
        }
        axis.errorbar(
            rates,
            [100 * found.mean for found in right],
            yerr=(low, high),
            label=kind,
            color=f"C{number}",
            alpha=0.85,
            **style,
        )
    axis.set(xlabel="active tokens, %", ylabel="accuracy at the questions, %", ylim=(0, 104), xlim=(-2, 104))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    found = by_arm(finished())
    config = load_experiment(EXPERIMENT)
    d, c, o = config.data, config.model.configurator, config.optim
    torch.set_num_threads(1)  # as the runs had
    seconds = sum(run["cpu_seconds"] for runs in found.values() for run in runs)
    runs = sum(map(len, found.values()))
    short = by_arm(finished(), [SHORT_MEMORY])
    short_memory = (
        f"\nTrained with a short one from the start (`-- {SHORT_MEMORY}`):\n\n{accuracies(short)}" if short else ""
    )
    picture = PAGE.with_name("recall.png")
    text = f"""# Where attention matters: noisy recall

`python -m benchmarks.recall --seeds 5`, then `python -m benchmarks.recall_report`, which writes this page from the runs
in `docs/results_recall.jsonl`: `configs/{EXPERIMENT}.yaml`,
CPU-sized and ours. {d.pairs} key-value pairs lie among noise in the first half of {d.length} tokens, {d.questions}
questions in the second; {d.noise:.0%} of the tokens are noise. A guess among the values of the sequence is right
{1 / d.pairs:.0%} of the time. {config.trainer.max_steps:,} updates of {d.batch_size} sequences, none seen twice;
accuracy at the scored positions of 1,000 sequences that no run was trained on, after the last update.

`capacity`: the rate falls from 100 % to the one asked for ({", ".join(f"{rate:g}" for rate in RATES)}) between
{c.anneal_from:.0%} and {c.anneal_to:.0%} of training; confidences start at {c.start_confidence:g}, and a price of
{o.activation_cost:g} x mean probability of activation sorts the tokens from {o.activation_cost_from:.0%} of training
on, whole from {o.activation_cost_to:.0%} on (but for "no price"). `cost`: tempered softmax as published with such a
price, and no dial. `shared`: as `capacity`, but the rate is that of all layers together, by one threshold
(`model.configurator.budget=model`). `credit`: `{CREDIT}`. ± is the half width of a 95 % interval (Student's t over
seeds).

![Accuracy against activation rate]({picture.name})

{accuracies(found)}
Share of each class of token that is active, mean over seeds (a question is a key asked for again):

{classes(found)}
Accuracy, %, of the same trained models when they are run with a shorter working memory than the
{config.model.memory_size} they were trained with:

{memories(found)}{short_memory}
{NOTES}
{runs} runs, {seconds / 3600:.1f} CPU hours on {machine()}; page written by {code_version()}.
"""
    draw(found, picture)
    PAGE.write_text(text)
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
