"""The width at which a baseline costs as much as an experiment's model: in parameters, or in FLOPs."""

import shlex
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from seqboat_lab.analysis.cost import Cost, cost_of, flops_of
from seqboat_lab.analysis.describe import named, rates_of
from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.config.checks import require
from seqboat_lab.config.files import build, merge, to_dict
from seqboat_lab.config.mixers import SeqBoatMixerConfig
from seqboat_lab.nn.cost import count_parameters, expected_rates
from seqboat_lab.training.model import make_datamodule, make_model

WIDTH = "model.d_model"
FOLLOW = ("d_hidden", "ffn_hidden")
"""Widths of seqboat, mega and ssm layers that keep their ratio to it."""
WIDEST_STEP = 256
"""Settings that admit no width up to here admit none."""
FARTHEST = 0.25
"""A width that costs so much more or less is no match."""


class Match(NamedTuple):
    target: Cost
    found: Cost
    width: int
    experiment: ExperimentConfig
    """The baseline at that width."""
    overrides: list[str]
    """What makes it of the experiment."""

    def difference(self, to: str) -> float:
        """How much more the baseline costs, as a share."""
        sides = [side.parameters if to == "parameters" else side.forward or 0 for side in (self.found, self.target)]
        return sides[0] / sides[1] - 1


def match(config: ExperimentConfig, to: str, like: Sequence[str], rate: float | None = None) -> Match:
    """The baseline that `like` (`key=value` overrides of the experiment) describes, at the width where it costs most
    nearly what the experiment does.

    Args:
        to: `parameters`, or `flops` of a forward pass.
        rate: the activation rate to count the experiment with, and layers of the baseline that learn theirs.

    Everything else stays as the experiment or `like` say; only widths inside seqboat, mega and ssm layers and their
    feed-forward parts keep their ratio to d_model. Raises `ConfigError` where no width comes near.
    """
    ours, values = to_dict(config)["model"], merge(to_dict(config), like, ExperimentConfig)
    same = {name for name, value in values["model"].items() if value == ours.get(name)}
    if "d_model" not in same:
        raise ConfigError(WIDTH, "is what match looks for; leave it out of --like")
    follow: dict[str, float] = {}  # other widths, as multiples of d_model

    def widths(width: int) -> dict[str, int]:
        return {"d_model": width} | {name: max(1, round(ratio * width)) for name, ratio in follow.items()}

    def baseline(width: int) -> ExperimentConfig:
        return build(ExperimentConfig, {**values, "model": {**values["model"], **widths(width)}})

    step = _step(baseline, config.model.d_model)
    model = baseline(step).model
    if any(isinstance(model.settings(kind), SeqBoatMixerConfig) for kind in model.kinds):
        follow |= {name: ours[name] / ours["d_model"] for name in FOLLOW if name in same and ours[name]}
    if to == "flops":
        for each in (config.model, model):
            expected = f"--to parameters, since flops are counted of layers only, not of model.kind {each.kind}"
            require(each.is_stack, "--to", to, expected)
    target = cost_of(config, rates_of(config, rate))
    learnt = 0.5 if rate is None else rate

    def cost(width: int) -> float:
        tried = baseline(width)
        datamodule = make_datamodule(tried)
        if to == "parameters":
            return count_parameters(make_model(tried, datamodule.spec))
        return flops_of(tried, datamodule, expected_rates(tried.model, otherwise=learnt))

    wanted = target.parameters if to == "parameters" else target.forward
    assert wanted is not None  # a stack's FLOPs are counted
    width = _nearest(cost, step, wanted, to)
    found = baseline(width)
    rates = expected_rates(found.model, otherwise=learnt)
    chosen = [f"model.{name}={value}" for name, value in widths(width).items()]
    return Match(target, cost_of(found, rates), width, found, [*like, *chosen])


def _step(baseline: Callable[[int], ExperimentConfig], own: int) -> int:
    """The least width that the baseline's settings admit; the others are its multiples, since they ask for divisors.

    Raises the `ConfigError` of the experiment's own width if there is none.
    """
    for width in range(1, WIDEST_STEP + 1):
        try:
            baseline(width)
            return width
        except ConfigError:
            continue
    baseline(own)
    return own


def _nearest(cost: Callable[[int], float], step: int, wanted: float, to: str) -> int:
    """The multiple of `step` whose cost, which grows with it, is nearest to `wanted`."""
    low, high = 0, 1
    while (reached := _try(cost, high * step)) is not None and reached < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        reached = _try(cost, middle * step)
        low, high = (middle, high) if reached is not None and reached < wanted else (low, middle)
    tried = {n * step: _try(cost, n * step) for n in (low, high) if n}
    costs = {width: found for width, found in tried.items() if found is not None}
    best = min(costs, key=lambda width: abs(costs[width] - wanted))
    if abs(costs[best] / wanted - 1) > FARTHEST:
        around = " and ".join(f"{width} {found / wanted:.2f}" for width, found in costs.items())
        admitted = f"of the widths that the baseline's settings admit, multiples of {step}, the nearest cost {around}"
        reason = f"{to} cannot be reached: {admitted} times as much; change them, such as its heads or layers"
        raise ConfigError("--to", reason)
    return best


def _try(cost: Callable[[int], float], width: int) -> float | None:
    """None of a width that is too large for any machine."""
    try:
        return cost(width)
    except ConfigError:
        return None


def print_match(found: Match, config: ExperimentConfig, to: str) -> None:
    """Both sides and their difference, and what to paste."""
    table = Table("", title=f"{config.task}: the same {to}")
    for head in (named(config), named(found.experiment), "difference"):
        table.add_column(head, justify="right")
    rows = {
        "width": (config.model.d_model, found.width),
        "parameters": (found.target.parameters, found.found.parameters),
        "FLOPs per token, forward": (found.target.forward, found.found.forward),
        "FLOPs per token, training": (found.target.training, found.found.training),
    }
    for name, (ours, theirs) in rows.items():
        if ours is None or theirs is None:
            continue
        style = "bold" if to in name.lower() and "training" not in name else None
        table.add_row(name, f"{ours:,.0f}", f"{theirs:,.0f}", f"{theirs / ours - 1:+.1%}", style=style)
    console = Console()
    console.print(table)
    rates = {"": found.target.rates, " of the baseline": found.found.rates}
    counted = [f"{sum(r) / len(r):.0%} activation{whose}" for whose, r in rates.items() if r]
    console.print(f"counted for {found.target.length:,} tokens{', ' * bool(counted)}{', '.join(counted)}")
    print(shlex.join(found.overrides))  # whole, however narrow the terminal
