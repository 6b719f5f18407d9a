"""Two runs left the same, but for what clocks measured."""

import csv
import json
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CLOCKS = ("tokens_per_second", "cost/seconds")


def assert_same_run(a: Path, b: Path) -> None:
    """Weights bit for bit, every logged row, every validation, all kept decisions, the summary, and every point in TensorBoard."""
    for name in ("best", "last"):
        one, other = (
            torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"] for run in (a, b)
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert rows(a) == rows(b)
    assert validations(a) == validations(b)
    assert (a / "decisions.jsonl").read_text() == (b / "decisions.jsonl").read_text()
    one, other = (json.loads((run / "summary.json").read_text()) for run in (a, b))
    assert _without_clocks(one["metrics"]) == _without_clocks(other["metrics"])
    assert curves(a) == curves(b)
    for run in (a, b):
        assert not [p for p in run.rglob("*") if p.suffix in (".tmp", ".partial")]


def rows(run: Path) -> list[dict]:
    with (run / "metrics.csv").open(newline="") as file:
        found = [{k: v for k, v in row.items() if v and k not in CLOCKS} for row in csv.DictReader(file)]
    return sorted(found, key=str)


def validations(run: Path) -> list[dict]:
    return [_without_clocks(json.loads(line)) for line in (run / "validations.jsonl").read_text().splitlines()]


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """In the order of their steps: event files that were begun in the same second are read in any order."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    scalars = {
        tag: sorted((e.step, e.value if tag not in CLOCKS else 0.0) for e in events.Scalars(tag))
        for tag in events.Tags()["scalars"]
    }
    return scalars | {tag: sorted(e.step for e in events.Images(tag)) for tag in events.Tags()["images"]}


def _without_clocks(values: dict) -> dict:
    return {name: value for name, value in values.items() if name not in CLOCKS}
