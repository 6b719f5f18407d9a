"""What an experiment's model consists of and costs, as a table; several experiments beside each other."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text  # of user's text nothing is markup

from seqboat_lab.analysis.cost import cost_of, flops_of, measure
from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.nn.cost import PARTS, cost_per_token, expected_rates, fixed_rate_of, parameters_by_part
from seqboat_lab.nn.state_size import state_bytes
from seqboat_lab.training.model import make_datamodule, make_model


def rates_of(config: ExperimentConfig, rate: float | None) -> list[float]:
    """The activation rates to count with, one per layer that decides: `rate`, where a layer can have it; without, what
    the layer's settings are to reach, or one half.

    Raises `ConfigError` for a rate that no layer can have.
    """
    layers = [config.model.layer(i) for i in config.model.deciding]
    fixed = [fixed_rate_of(layer) for layer in layers]
    if rate is not None and layers and None not in fixed and rate not in fixed:
        kind = layers[0].configurator.kind
        raise ConfigError("--rate", f"{rate} is not possible here; model.configurator {kind} always has {fixed[0]:g}")
    return expected_rates(config.model, rate)


def describe(config: ExperimentConfig, rate: float | None = None) -> None:
    """Prints parameters and forward FLOPs per token of every part of the model, those of a training step, and what a
    stream carries.

    Args:
        rate: the activation rate to count for in layers that can have it (see `rates_of`).
    """
    rates = rates_of(config, rate)
    datamodule = make_datamodule(config)
    model = make_model(config, datamodule.spec)
    length, vocabulary = datamodule.spec.max_length, datamodule.spec.vocabulary_per_token
    stack = config.model.is_stack
    flops = cost_per_token(config.model, length, rates, vocabulary) if stack else {}  # counted of layers only
    parameters = parameters_by_part(model)
    model_name = f"{config.model.layers} layers" if stack else config.model.kind
    table = Table("part", title=f"{config.task}: {model_name} of width {config.model.d_model}")
    for head in ("parameters", "FLOPs per token", "share of FLOPs"):
        table.add_column(head, justify="right")
    for part in (*PARTS, "other", "total"):
        cost = flops.get(part)
        counted = ("-", "-") if cost is None else (f"{cost:,.0f}", f"{cost / flops['total']:.1%}")
        table.add_row(part, f"{parameters[part]:,}", *counted, style="bold" if part == "total" else None)
    console = Console()
    console.print(table)
    activation = f"activation rate {sum(rates) / len(rates):.0%}" if rates else "no activation"
    console.print(
        f"forward pass, {length:,} tokens, {activation}; other = norms, and a classifier's embedding and head"
    )
    if stack:
        step = flops_of(config, datamodule, rates, training=True)
        console.print(f"training step, forward and backward: {step:,.0f} FLOPs per token")
        if (carried := state_bytes(config.model, length, rates)) is not None:
            console.print(f"a stream carries {in_bytes(carried)} after that length")
    unused = sum(p.numel() for p in model.parameters()) - parameters["total"]
    if unused:
        console.print(f"not counted: {unused:,} parameters of attention that never runs")


def describe_side_by_side(configs: Mapping[str, ExperimentConfig], rate: float | None, measured: bool) -> None:
    """Prints what each of several experiments costs, by name.

    Args:
        rate: as in `describe`.
        measured: also seconds and memory of a batch, on this machine.
    """
    every = [(config, rates_of(config, rate)) for config in configs.values()]
    costs = [cost_of(config, rates) for config, rates in every]
    states = [
        state_bytes(config.model, cost.length, cost.rates) for (config, _), cost in zip(every, costs, strict=True)
    ]
    rows = {
        "task": [config.task for config, _ in every],
        "model": [f"{config.model.layers} x {named(config)}" for config, _ in every],
        "width": [f"{config.model.d_model:,}" for config, _ in every],
        "tokens": [f"{cost.length:,}" for cost in costs],
        "activation rate": [f"{sum(cost.rates) / len(cost.rates):.0%}" if cost.rates else "-" for cost in costs],
        "parameters": [f"{cost.parameters:,}" for cost in costs],
        "FLOPs per token, forward": [_number(cost.forward) for cost in costs],
        "FLOPs per token, training": [_number(cost.training) for cost in costs],
        "a stream carries": ["-" if size is None else in_bytes(size) for size in states],
    }
    if measured:
        found = [measure(config) for config, _ in every]
        rows |= {
            "sequences of a batch": [f"{config.data.batch_size:,}" for config, _ in every],
            "seconds, forward": [f"{each.forward:.3g}" for each in found],
            "seconds, training step": [f"{each.step:.3g}" for each in found],
            "peak memory of the step": [in_bytes(each.peak) for each in found],
            "activation rate then": ["-" if each.rate is None else f"{each.rate:.0%}" for each in found],
        }
    table = Table("")
    for name in configs:
        table.add_column(Text(name, overflow="fold"), justify="right")
    for name, cells in rows.items():
        table.add_row(name, *map(Text, cells))
    console = Console()
    console.print(table)
    if measured:
        console.print("measured: untrained weights, a batch of random tokens of that length, medians of 3")


def named(config: ExperimentConfig) -> str:
    """The kinds of a model's layers."""
    return "+".join(dict.fromkeys(config.model.kinds)) or config.model.kind


def in_bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} GB"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
