"""Small sweep directories, made by hand: what a search and its confirmation leave."""

import json
from pathlib import Path

from seqboat_lab.analysis import report as reports
from seqboat_lab.analysis.report import write_csv

TWO = {"val/accuracy": "maximize", "val/activation_rate": "minimize"}
THREE = {**TWO, "cost/flops_per_token": "minimize"}
SPACE = {"model.kernel": {"choices": ["ema", "s4d"]}, "model.scale": {"low": 0.01, "high": 10.0, "log": True}}


def draw_only(monkeypatch) -> None:
    """Figures are laid out, but not written: ten times as fast."""
    monkeypatch.setattr(reports, "_inline", lambda name, figure, links: (figure.draw_without_rendering(), "")[1])
    monkeypatch.setattr(reports, "_png", lambda figure: b"png")
    monkeypatch.setattr(reports, "write_tensorboard", lambda *_: None)


def trial(number: int, *values: float, kernel: str = "ema", objectives=TWO, **more) -> dict:
    """A completed trial with these objectives; two ran at a time, for a minute each."""
    start = f"2026-01-01T12:{number // 2:02}:00"
    return {
        "number": number, "state": "complete", **dict(zip(objectives, values, strict=True)), "model.kernel": kernel,
        "model.scale": 0.02 * (number + 1), "step": 100, "started": start, "seconds": 60.0,
        "val/activation_rate/layer_0": 0.25, "val/activation_rate/layer_1": 0.5,
        "run": f"runs/sweeps/s/trials/{number:04d}", "error": "", **more,
    }  # fmt: skip


def make_sweep(directory: Path, rows, objectives=TWO, space=SPACE, **settings) -> Path:
    """trials.csv, sweep.yaml and the trials' directories."""
    directory.mkdir(parents=True)
    write_csv(directory / "trials.csv", rows, first=("number", "state", *objectives, *space))
    sweep = {
        "name": directory.name,
        "objectives": objectives,
        "space": space,
        "trials": len(rows),
        "seed": 7,
        **settings,
    }
    (directory / "sweep.yaml").write_text(json.dumps(sweep))
    for row in rows:
        run = directory / "trials" / f"{row['number']:04d}"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("# seqboat_lab 9.9 (abc123), torch 2.8\n")
    return directory


def confirm(directory: Path, values: dict, objectives=TWO, split: str = "test") -> None:
    """confirm.json as a sweep writes it: name of a reference or number of a trial -> a tuple of objectives for each seed."""
    found = {"runs": [], "references": []}
    for which, seeds in values.items():
        kind, key = ("runs", {"trial": which}) if isinstance(which, int) else ("references", {"name": which})
        for seed, point in enumerate(seeds, 1001):
            name = f"{which:04d}-{seed}" if isinstance(which, int) else f"{which}-{seed}"
            (directory / "confirm" / name).mkdir(parents=True, exist_ok=True)
            run = f"runs/sweeps/s/confirm/{name}"
            found[kind].append({**key, "seed": seed, "run": run, "values": dict(zip(objectives, point, strict=True))})
    (directory / "confirm.json").write_text(json.dumps({"split": split, "objectives": objectives, **found}))


ROWS = [
    trial(0, 0.50, 0.50), trial(1, 0.45, 0.20), trial(2, 0.40, 0.30, kernel="s4d"), trial(3, 0.30, 0.05, kernel="s4d"),
    trial(4, 0.39, 0.45, kernel="s4d"), trial(5, 0.44, 0.40), trial(6, 0.46, 0.60), trial(7, 0.35, 0.50, kernel="s4d"),
    trial(8, 0.47, 0.55), trial(9, 0.20, 0.90, kernel="s4d", state="stopped", step=25),
]  # fmt: skip
CONFIRMED = {
    0: [(0.48, 0.50), (0.49, 0.55), (0.47, 0.45)],
    1: [(0.44, 0.20), (0.46, 0.25), (0.45, 0.15)],
    2: [(0.40, 0.30), (0.41, 0.32), (0.39, 0.28)],
    "never": [(0.30, 0.0), (0.31, 0.0), (0.29, 0.0)],
}
