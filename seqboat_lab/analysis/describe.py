"""What an experiment's model consists of and costs, as a table."""

from rich.console import Console
from rich.table import Table

from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.nn.cost import PARTS, cost_per_token, fixed_rate_of, parameters_by_part
from seqboat_lab.training.experiment import make_datamodule, make_module


def describe(config: ExperimentConfig, rate: float | None = None) -> None:
    """Prints parameters and forward FLOPs per token of every part of the model.

    Args:
        rate: the activation rate to count for in layers whose configurator has not only one; one half by default.

    Raises `ConfigError` for a rate that no layer can have.
    """
    layers = [config.model.layer(i) for i in config.model.deciding]
    fixed = [fixed_rate_of(layer) for layer in layers]
    if rate is not None and layers and None not in fixed and rate not in fixed:
        kind = layers[0].configurator.kind
        raise ConfigError("--rate", f"{rate} is not possible here; model.configurator {kind} always has {fixed[0]:g}")
    asked = 0.5 if rate is None else rate
    rates = [asked if only is None else only for only in fixed]
    datamodule = make_datamodule(config)
    model = make_module(config, datamodule).model
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
    unused = sum(p.numel() for p in model.parameters()) - parameters["total"]
    if unused:
        console.print(f"not counted: {unused:,} parameters of attention that never runs")
