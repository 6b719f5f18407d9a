"""The live table: time left, and the hypervolume as it grows."""

from datetime import datetime, timedelta

import pytest
from rich.console import Console

from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.definition.space import Parameter
from seqboat_lab.sweep.running.live import SweepView, duration, sparkline, time_left

NOW = datetime(2026, 1, 1, 12, 0, 0)
SWEEP = SweepConfig(
    name="s", experiment="e", trials=10, space={"model.x": Parameter(choices=[1, 2])},
    objectives={"val/accuracy": "maximize", "val/activation_rate": "minimize"},
)  # fmt: skip


def row(number, state, seconds=None, ago=0.0, values=(None, None)):
    started = (NOW - timedelta(seconds=ago)).isoformat()
    return {"number": number, "state": state, "val/accuracy": values[0], "val/activation_rate": values[1], "model.x": 1,
            "step": 1, "seconds": seconds, "started": started, "error": ""}  # fmt: skip


def test_time_left_is_what_is_to_come_over_those_at_work():
    ended = [row(0, "complete", 100.0), row(1, "stopped", 60.0)]  # 80 on average
    running = [row(2, "running", ago=30.0), row(3, "running", ago=200.0)]  # 50 to go, and one that is overdue
    assert time_left([*ended, *running], 10, NOW) == pytest.approx((50 + 0 + 6 * 80) / 2)
    assert time_left(ended, 2, NOW) == 0
    assert time_left(running, 10, NOW) is None
    assert [duration(s) for s in (0.4, 59.6, 754, 10810)] == ["0:00", "1:00", "12:34", "3:00:10"]


def test_growth_in_a_line_of_text():
    assert sparkline([]) == ""
    assert sparkline([0.5]) == "▁"
    assert sparkline([0.0, 0.0, 0.5, 1.0, 1.0]) == "▁▅█"
    assert len(sparkline([float(n) for n in range(50)])) == 12


def test_the_table_tells_elapsed_time_time_left_and_hypervolume(monkeypatch):
    view = SweepView(SWEEP)
    console = Console(width=150, force_terminal=True, record=True)
    shown = []
    view.live = type(
        "Live",
        (),
        {"update": lambda self, group, refresh: shown.append(group), "start": lambda s: 0, "stop": lambda s: 0},
    )()
    rows = [row(0, "complete", 100.0, values=(0.5, 0.5)), row(1, "running", ago=10.0)]
    view.update(rows)
    view.update([row(0, "complete", 100.0, values=(0.5, 0.5)), row(1, "complete", 50.0, values=(0.8, 0.5))])
    for group in shown:
        console.print(group)
    text = console.export_text()
    assert "s: 1 of 10 trials done, 0:00 elapsed, " in text
    assert " left" in text
    assert "hypervolume 0.25 ▁" in text
    assert "hypervolume 0.4 ▁█" in text


def test_a_stopped_trial_that_went_on_is_told_again_and_counts_once(capsys):
    view = SweepView(SWEEP)
    view.update([row(0, "stopped", 10.0, values=(0.1, 0.5)), row(1, "complete", 10.0, values=(0.2, 0.5))])
    view.update([row(0, "running", 10.0, values=(0.1, 0.5)), row(1, "complete", 10.0, values=(0.2, 0.5))])
    for _ in range(2):
        view.update([row(0, "complete", 20.0, values=(0.8, 0.5)), row(1, "complete", 10.0, values=(0.2, 0.5))])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["[1/10", "[2/10", "[2/10"]
    assert ["trial 0 complete" in line for line in lines] == [False, False, True]
