"""What an evaluation found, as tables."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_metrics(title: str, values: Mapping[str, float]) -> None:
    """Prints metrics; those named `<metric>/layer_<i>` as one row per layer."""
    per_layer = {name: value for name, value in values.items() if "/layer_" in name}
    console = Console()
    table = Table("metric", title=Text(title), title_justify="left")  # a title that names a path is no markup
    table.add_column("value", justify="right")
    for name, value in values.items():
        if name not in per_layer:
            table.add_row(Text(name), f"{value:.4f}")
    console.print(table)
    if not per_layer:
        return
    metrics = list(dict.fromkeys(name.partition("/")[0] for name in per_layer))
    layers = list(dict.fromkeys(name.partition("/layer_")[2] for name in per_layer))
    table = Table("layer")
    for metric in metrics:
        table.add_column(metric, justify="right")
    for layer in layers:
        table.add_row(layer, *(f"{per_layer[f'{metric}/layer_{layer}']:.4g}" for metric in metrics))
    console.print(table)


def print_curve(title: str, points: Sequence[Mapping[str, float]]) -> None:
    """Prints one row for each rate: the metrics of the whole model, not those of its layers."""
    names = [name for name in points[0] if "/" not in name]
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, justify="right")
    for point in points:
        table.add_row(*(f"{point[name]:.4g}" for name in names))
    Console().print(table)


def print_side_by_side(title: str, columns: Mapping[str, Mapping[str, float]]) -> None:
    """Prints the metrics of the whole model, a column for each evaluation."""
    table = Table("metric", title=Text(title), title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    for metric in next(iter(columns.values())):
        if "/layer_" not in metric:
            table.add_row(Text(metric), *(f"{values[metric]:.4f}" for values in columns.values()))
    Console().print(table)
