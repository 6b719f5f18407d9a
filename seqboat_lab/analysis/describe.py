"""What an experiment's model consists of and costs, as a table."""

from rich.console import Console
from rich.table import Table

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.nn.cost import PARTS, cost_per_token, parameters_by_part
from seqboat_lab.training.experiment import make_datamodule, make_module


def describe(config: ExperimentConfig, rate: float) -> None:
    """Prints parameters and forward FLOPs per token of every part of the model at an activation rate."""
    datamodule = make_datamodule(config)
    model = make_module(config, datamodule).model
    length, vocabulary = datamodule.spec.max_length, datamodule.spec.vocabulary_per_token
    rates = [rate] * config.model.activating_layers
    flops = cost_per_token(config.model, length, rates, vocabulary) if rates else {}  # counted of SeqBoat only
    parameters = parameters_by_part(model)
    model_name = f"{config.model.layers} layers" if rates else config.model.kind
    table = Table("part", title=f"{config.task}: {model_name} of width {config.model.d_model}")
    for head in ("parameters", "FLOPs per token", "share of FLOPs"):
        table.add_column(head, justify="right")
    for part in (*PARTS, "other", "total"):
        cost = flops.get(part)
        counted = ("-", "-") if cost is None else (f"{cost:,.0f}", f"{cost / flops['total']:.1%}")
        table.add_row(part, f"{parameters[part]:,}", *counted, style="bold" if part == "total" else None)
    console = Console()
    console.print(table)
    console.print(
        f"forward pass, {length:,} tokens, activation rate {rate:.0%}; other = norms, and a classifier's head"
    )
