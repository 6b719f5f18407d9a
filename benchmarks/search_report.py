"""docs/results_search.md and docs/search.png from replayed searches."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.measure import machine
from benchmarks.search import BASELINE, DEFAULT, Arm, Search, budget
from benchmarks.search_replay import Moment, Table, best_possible
from benchmarks.search_table import factors, read_table
from seqboat_lab.analysis.markdown import markdown_table
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.training.results import code_version

Found = Mapping[Arm, Sequence[Search]]
NEAR, MOST_LOST = 0.95, 0.02
"""The aim: this share of the final hypervolume is reached soon, and no search ends more than that below it."""
SOON = 1 / 3
READING = """Read on 2026-11-26, of a table with two seeds, whose searches see single noisy runs as real ones do:
stopping saves every sampler a quarter to a third of the updates, not two thirds, and none of the samplers is clearly
ahead of random search on 216 configurations. A first rung at 0.1 ends far too low in its worst search, 0.2 and 0.3 do
not. Breaking ties by how far apart points lie (Syne Tune's rule with its ranks mended) is as good as by hypervolume,
or a little better. `gp` is not here: it takes minutes a search (`--only gp`)."""
SYNE_TUNE = """Syne Tune's MO-ASHA is replayed over the same rungs where it is installed
(`benchmarks/search_syne_tune.py`). Its version 0.16 has a defect: what it takes for the ranks of the trials are their
places in sorted order. With six trials of 0.6, 0.5, ... 0.1 in one objective, recorded in this order, and alike in the
other, a seventh of 0.7 is stopped; had they been recorded from 0.1 up, one of 0.15 goes on. With ranks (`ranks mended`)
it is the other way round."""


def value_at(moments: Sequence[Moment], updates: float) -> float:
    """Hypervolume once so many updates are spent."""
    return max((m.hypervolume for m in moments if m.updates <= updates), default=0.0)


def updates_to(moments: Sequence[Moment], value: float) -> float:
    """Updates spent until the hypervolume is `value`; infinite if it never is."""
    return next((m.updates for m in moments if m.hypervolume >= value), math.inf)


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, and a 95 % interval by bootstrap over the searches; infinite values stay above all others."""
    draws = np.random.default_rng(0).choice(np.array(values), (2000, len(values)))
    medians = np.sort(draws, axis=1)[:, [(len(values) - 1) // 2, len(values) // 2]].max(1)
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")
    return statistics.median_high(values), float(low), float(high)


def final(found: Found) -> float:
    """Where Optuna's default sampler ends without stopping: the median."""
    return statistics.median(search.moments[-1].hypervolume for search in found[BASELINE])


def write_report(found: Found, sweep: SweepConfig, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    picture(found, sweep).savefig(directory / "search.png", dpi=110)
    (directory / "results_search.md").write_text(page(found, sweep))
    print(f"wrote {directory}/results_search.md and search.png")


def page(found: Found, sweep: SweepConfig) -> str:
    spent, end = budget(sweep), final(found)
    space = ", ".join(f"`{key}` ({len(values)})" for key, values in factors(sweep).items())
    steps = sweep.experiment_with({}).trainer.max_steps
    configurations = math.prod(map(len, factors(sweep).values()))
    table = read_table(sweep)
    possible, seeds = best_possible(sweep, table), len(next(iter(table.values())))
    shown = {
        1: "made with one seed: a search that proposes a configuration again sees the same again.",
        2: "made with two seeds: a search sees one of what it proposes, and the other one when it proposes it again.",
    }[seeds]
    return f"""# How fast a search finds its front

`make bench-search`: {code_version()}, {machine()}. CPU-sized and ours: `benchmarks/search.yaml`, noisy recall of 32
tokens, {steps} updates a trial, accuracy against activation rate. All {configurations} configurations of
{space} were trained once, with ten validations each
(`python -m benchmarks.search_table`), and the searches below are replayed from that table, by two simulated workers
that share a clock. The table is {shown}

A search is scored by what it has found: the hypervolume of the completed configurations, each with its mean over the
seeds, against a guess with every token active. It may spend {spent:,} updates, {sweep.trials} trials of full length.
**Final** is the median hypervolume at which Optuna's default sampler ends without stopping, {end:.4f}; all
configurations together have {possible:.4f}.

![Hypervolume against updates spent](search.png)

Bands are 95 % intervals of the median over the searches (bootstrap). `halving f` is `successive_halving` with
`first: f` and `eta: 3`; `seconds` are those of the search itself.

{rows(found, end, spent)}
{verdict(found, end, spent)}

## What the table says of stopping

{foresight(table)}

{READING}

{SYNE_TUNE}
"""


def foresight(table: Table) -> str:
    """How much a validation tells of the last one."""
    curves = np.array([[[p.accuracy, p.rate] for p in curve] for curves in table.values() for curve in curves])
    steps = [point.updates for point in next(iter(table.values()))[0]]
    words = []
    for place in (0, 1, 2, 4):
        accuracy, rate = (np.corrcoef(curves[:, place, i], curves[:, -1, i])[0, 1] for i in (0, 1))
        words.append(f"after {steps[place]} updates {accuracy:.2f} and {rate:.2f}")
    return (
        "Correlation of accuracy and of activation rate with their last values, over all runs: "
        f"{', '.join(words)}. Where accuracy is still a guess and every token active, whom a rule stops is luck."
    )


def rows(found: Found, end: float, spent: int) -> str:
    baseline = median_interval([updates_to(s.moments, NEAR * end) for s in found[BASELINE]])[0]
    lines = []
    for arm, searches in found.items():
        near, low, high = median_interval([updates_to(s.moments, NEAR * end) for s in searches])
        third = [value_at(s.moments, spent * SOON) / end for s in searches]
        ends = [s.moments[-1].hypervolume / end for s in searches]
        completed = statistics.median(len(s.moments) for s in searches)
        lines.append((
            f"**{arm}**" if arm == DEFAULT else str(arm), f"{_updates(near)} ({_updates(low)} to {_updates(high)})",
            f"{near / baseline:.2f}" if math.isfinite(near) else "-", f"{100 * statistics.median(third):.1f}",
            f"{100 * statistics.median(ends):.1f}", f"{100 * min(ends):.1f}", f"{completed:.0f}",
            f"{statistics.median(s.seconds for s in searches):.1f}", str(len(searches)),
        ))  # fmt: skip
    head = (
        "sampler + stopping rule", f"updates to {NEAR:.0%} of final (95 % interval)", "of Optuna's",
        "% of final at a third of the budget", "% of final at its end", "worst", "completed", "seconds", "searches",
    )  # fmt: skip
    return markdown_table(head, lines)


def _updates(count: float) -> str:
    return f"{count:,.0f}" if math.isfinite(count) else "never"


def verdict(found: Found, end: float, spent: int) -> str:
    """Whether the aim is reached, in words that follow from the numbers alone."""
    if DEFAULT not in found:
        return ""
    near = {
        arm: median_interval([updates_to(s.moments, NEAR * end) for s in found[arm]])[0] for arm in (BASELINE, DEFAULT)
    }
    soon = [
        (f"the budget of Optuna's default sampler ({spent:,})", near[DEFAULT] / spent),
        (f"the updates after which that is there itself ({_updates(near[BASELINE])})", near[DEFAULT] / near[BASELINE]),
    ]
    worst = min(s.moments[-1].hypervolume for s in found[DEFAULT]) / end
    lines = [
        f"**The aim** was {NEAR:.0%} of the final hypervolume in a third of the updates, and no end more than "
        f"{MOST_LOST:.0%} below it, for the default, {DEFAULT}:\n"
    ]
    lines += [
        f"- {NEAR:.0%} of final after {_updates(near[DEFAULT])} updates (median): {share:.2f} of {what}; "
        f"{_said(share <= SOON)}"
        for what, share in soon
    ]
    count, kept = len(found[DEFAULT]), _said(worst >= 1 - MOST_LOST)
    lines.append(f"- the worst of {count} searches ended at {worst:.1%} of final; {kept}")
    return "\n".join(lines)


def _said(reached: bool) -> str:
    return "reached." if reached else "**not reached**."


def picture(found: Found, sweep: SweepConfig) -> Figure:
    """One panel a sampler, the baseline in each; lines are medians."""
    samplers = list(dict.fromkeys(arm.sampler for arm in found if arm != BASELINE)) or [BASELINE.sampler]
    columns = min(3, len(samplers))
    figure = Figure(figsize=(4.2 * columns, 3.4 * math.ceil(len(samplers) / columns)), layout="constrained")
    axes = figure.subplots(math.ceil(len(samplers) / columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
    spent, end = budget(sweep), final(found)
    grid = np.linspace(0, spent, 109)
    names = list(dict.fromkeys(arm.rule for arm in found))
    for panel, sampler in zip(axes, samplers, strict=False):
        for arm in [BASELINE, *(arm for arm in found if arm.sampler == sampler and arm != BASELINE)]:
            color = "black" if arm == BASELINE else f"C{names.index(arm.rule)}"
            bands = [median_interval([value_at(s.moments, x) / end for s in found[arm]]) for x in grid]
            middle, low, high = np.array(bands).T
            label = str(arm) if arm == BASELINE else arm.rule if arm.rule != "none" else "no stopping"
            panel.plot(grid, middle, color=color, label=label, linestyle="--" if arm == BASELINE else "-")
            panel.fill_between(grid, low, high, color=color, alpha=0.15, linewidth=0)
        panel.axhline(NEAR, color="grey", linewidth=0.7)
        panel.set_title(sampler, fontsize=10)
        panel.set_ylim(0.6, 1.05)
        panel.locator_params(axis="x", nbins=5)
        panel.grid(alpha=0.3)
    for panel in axes[len(samplers) :]:
        panel.set_visible(False)
    axes[0].legend(fontsize=8, loc="lower right")
    figure.supxlabel("updates spent", fontsize=10)
    figure.supylabel("hypervolume, share of final", fontsize=10)
    return figure
