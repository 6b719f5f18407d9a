"""What a person sees while a sweep runs: a live table on a terminal, a line per finished trial elsewhere."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seqboat_lab.analysis.figures.text import number as format_value
from seqboat_lab.analysis.figures.text import short
from seqboat_lab.analysis.pareto import front_of, hypervolume_history, is_number, kept_reference
from seqboat_lab.sweep.definition.config import SweepConfig

STYLES = {
    "complete": "green",
    "running": "cyan",
    "stopped": "yellow",
    "failed": "red",
    "waiting": "dim",
    "requeued": "dim",
}
DONE = ("complete", "stopped", "failed")
BARS = "▁▂▃▄▅▆▇█"
FRAME = 6  # lines of a table besides its rows
SHORTEST = 4  # rows of the live table on even the lowest terminal; the rest is in trials.csv
WIDE = 12  # characters of a header; a longer one is broken


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


def time_left(rows: Sequence[Mapping[str, Any]], trials: int, now: datetime) -> float | None:
    """Seconds until the budget of `trials` is used up: what running trials and those to come take, if they take as
    long as those that ended did on average, over as many as run at the same time. None while there is none to go by."""
    took = [row["seconds"] for row in rows if row["state"] in DONE and is_number(row["seconds"])]
    if not took:
        return None
    mean = sum(took) / len(took)
    running = [row for row in rows if row["state"] == "running"]
    begun = [max(0.0, mean - (now - datetime.fromisoformat(row["started"])).total_seconds()) for row in running]
    to_come = max(0, trials - len(running) - sum(row["state"] in DONE for row in rows))
    return (sum(begun) + mean * to_come) / max(1, len(running))


def duration(seconds: float) -> str:
    """`0:42`, `12:05`, `3:00:10`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sparkline(values: Sequence[float], width: int = 12) -> str:
    """Growth in one line of text, from the least to the largest value, over the last `width` changes."""
    steps = [value for n, value in enumerate(values) if n == 0 or value != values[n - 1]][-width:]
    low, high = min(steps, default=0.0), max(steps, default=0.0)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1)) if high > low else 0] for value in steps)


class SweepView:
    """Context manager; `update` with all rows as often as one likes."""

    def __init__(self, sweep: SweepConfig):
        self.sweep, self.console = sweep, Console()
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self.told: dict[int, str] = {}  # trials by the state that was told: a stopped one may go on
        self.began = time.monotonic()
        self.volumes: list[float] = []
        self.counted = 0  # completed trials that `volumes` knows

    def __enter__(self) -> "SweepView":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error) -> None:
        if self.live:
            self.live.stop()

    def update(self, rows: list[dict[str, Any]]) -> None:
        if self.live:
            front = front_of(rows, self.sweep.objectives)
            room = max(SHORTEST, self.console.height - len(front) - 2 * FRAME)
            tables = (rows[-room:], self.status(rows)), (front, f"Pareto front so far{self._volume(rows)}")
            self.live.update(Group(*(trial_table(r, self.sweep, t) for r, t in tables)), refresh=True)
            return
        times = ""
        for row in rows:
            if row["state"] in DONE and self.told.get(row["number"]) != row["state"]:
                self.told[row["number"]] = row["state"]
                searched = "  ".join(f"{short(k)} {format_value(row.get(k))}" for k in self.sweep.space)
                reached = "  ".join(f"{m} {format_value(row[m])}" for m in self.sweep.metrics)
                what = f"trial {row['number']} {row['state']}: {searched} -> {reached} {row['error']}"
                times = times or self._times(rows)
                print(f"[{len(self.told)}/{self.sweep.trials}, {times}] {what}", flush=True)

    def status(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """How far the sweep is."""
        done = sum(row["state"] in DONE for row in rows)
        return f"{self.sweep.name}: {done} of {self.sweep.trials} trials done, {self._times(rows)}"

    def _times(self, rows: Sequence[Mapping[str, Any]]) -> str:
        left = time_left(rows, self.sweep.trials, datetime.now())
        elapsed = duration(time.monotonic() - self.began)
        return f"{elapsed} elapsed, {duration(left)} left" if left else f"{elapsed} elapsed"

    def _volume(self, rows: list[dict[str, Any]]) -> str:
        complete = sum(row["state"] == "complete" for row in rows)
        if complete != self.counted:  # with three objectives it takes its time
            reference = kept_reference(rows, self.sweep.objectives, self.sweep.reference)
            self.volumes = hypervolume_history(rows, self.sweep.objectives, reference)
            self.counted = complete
        return f", hypervolume {self.volumes[-1]:.4g} {sparkline(self.volumes)}" if self.volumes else ""
