"""What a person sees while a sweep runs: a live table on a terminal, a line per finished trial elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seqboat_lab.analysis.figures import short
from seqboat_lab.analysis.pareto import front_of
from seqboat_lab.sweep.config import SweepConfig

STYLES = {
    "complete": "green",
    "running": "cyan",
    "stopped": "yellow",
    "failed": "red",
    "waiting": "dim",
    "requeued": "dim",
}
FRAME = 6  # lines of a table besides its rows
SHORTEST = 4  # rows of the live table on even the lowest terminal; the rest is in trials.csv
WIDE = 12  # characters of a header; a longer one is broken


def format_value(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trial_table(rows: Sequence[Mapping[str, Any]], sweep: SweepConfig, title: str) -> Table:
    """Trials as rows: number, state, searched fields, objectives."""
    table = Table(title=Text(title), title_justify="left", header_style="bold")  # `Text`: no markup in a user's names
    for name in (
        "trial",
        "state",
        *map(short, sweep.space),
        *(short(m) for m in sweep.metrics),
        "step",
        "seconds",
    ):
        table.add_column(Text(_header(name)), justify="left" if name == "state" else "right")
    for row in rows:
        cells = [row["number"], row["state"], *(row.get(k) for k in sweep.space)]
        cells += [row[m] for m in sweep.metrics] + [row["step"], row["seconds"]]
        table.add_row(*(Text(format_value(cell)) for cell in cells), style=STYLES[row["state"]])
    return table


def _header(name: str) -> str:
    """`val/activation_rate` as `activation_` over `rate`, so that narrow terminals cut none."""
    name = name.removeprefix("val/")
    breaks = [i + 1 for i, letter in enumerate(name[:-1]) if letter in "/_"]
    at = min(breaks, key=lambda i: max(i, len(name) - i), default=0)
    return f"{name[:at]}\n{name[at:]}" if len(name) > WIDE and at else name


class SweepView:
    """Context manager; `update` with all rows as often as one likes."""

    def __init__(self, sweep: SweepConfig):
        self.sweep, self.console = sweep, Console()
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self.told: set[int] = set()

    def __enter__(self) -> "SweepView":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error) -> None:
        if self.live:
            self.live.stop()

    def update(self, rows: list[dict[str, Any]]) -> None:
        done = sum(row["state"] in ("complete", "stopped", "failed") for row in rows)
        title = f"{self.sweep.name}: {done} of {self.sweep.trials} trials done"
        if self.live:
            front = front_of(rows, self.sweep.objectives)
            room = max(SHORTEST, self.console.height - len(front) - 2 * FRAME)
            tables = (rows[-room:], title), (front, "Pareto front so far")
            self.live.update(Group(*(trial_table(r, self.sweep, t) for r, t in tables)), refresh=True)
            return
        for row in rows:
            if row["number"] not in self.told and row["state"] in ("complete", "stopped", "failed"):
                self.told.add(row["number"])
                searched = "  ".join(f"{short(k)} {format_value(row.get(k))}" for k in self.sweep.space)
                reached = "  ".join(f"{m} {format_value(row[m])}" for m in self.sweep.metrics)
                what = f"trial {row['number']} {row['state']}: {searched} -> {reached} {row['error']}"
                print(f"[{len(self.told)}/{self.sweep.trials}] {what}", flush=True)
