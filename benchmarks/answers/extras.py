"""What a question needs of its runs beside their last validations: tables by name, for `keep`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from seqboat_lab.analysis import tables
from seqboat_lab.analysis.information import decision_information
from seqboat_lab.inference.shuffled import shuffled_decisions
from seqboat_lab.training.run_config import run_config

Runs = list[tuple[str, int, Path]]
"""Task, number and directory of every run of a question."""
STREAMED = 1_000_000
SHOWN = 2
"""The run whose raster is kept: the published configurator, and a seed with which it learns recall."""
FEWER_BYTES = ["data.val_fraction=0.005"]
"""Of a corpus: a tenth of the validation split."""


def learning(runs: Runs) -> dict[str, pd.DataFrame]:
    """`decisions`: a row a layer of each run: what its last decisions tell of the kinds of token (see
    `decision_information`; empty where there are no kinds), and the run's `metric` with its decisions (`learned`) and
    with these `shuffled`. `raster`: decisions about the first validation sequence over training, of one run of
    each task."""
    decisions = []
    for task, number, run in runs:
        record = tables.decisions_over_time(run)
        last = record[record["step"] == record["step"].max()]
        layers = [{"layer": layer} for layer in sorted(last["layer"].unique())]
        told = layers if last["class"].isna().all() else decision_information(last).to_dict("records")
        scores = _scores(run, FEWER_BYTES if run_config(run).task == "corpus" else [])
        decisions += [{"task": task, "number": number, **row, **scores} for row in told]
    return {"decisions": pd.DataFrame(decisions), "raster": pd.concat(_rasters(runs), ignore_index=True)}


def _scores(run: Path, overrides: list[str]) -> dict[str, Any]:
    found = shuffled_decisions(run, split="val", checkpoint="last", overrides=overrides)
    metric = "accuracy" if "accuracy" in found.learned else "bpc"
    return {"metric": metric, "learned": found.learned[metric], "shuffled": found.shuffled[metric]}


def _rasters(runs: Runs) -> Iterator[pd.DataFrame]:
    for task, number, run in runs:
        if number == SHOWN:
            record = tables.decisions_over_time(run)
            kept = record[record["sequence"] == 0][["step", "layer", "position", "active"]]
            yield kept.astype({"active": int}).assign(task=task)


def multimodal(runs: Runs) -> dict[str, pd.DataFrame]:
    """`stream`: what `benchmarks.multimodal` says of each run over a million tokens."""
    rows = [row for _, _, run in runs for row in _streamed(run)]
    table = pd.DataFrame(rows)
    return {"stream": table.map(lambda cell: json.dumps(cell) if isinstance(cell, (dict, list)) else cell)}


def _streamed(run: Path) -> list[dict[str, Any]]:
    """In a process of its own: peak memory is a process's."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "stream.jsonl"
        words = ["-m", "benchmarks.multimodal", str(run), "--tokens", str(STREAMED), "--out", str(out)]
        subprocess.run([sys.executable, *words], check=True)
        return [json.loads(line) for line in out.read_text().splitlines()]


EXTRAS: dict[str, Callable[[Runs], dict[str, pd.DataFrame]]] = {"learning": learning, "multimodal": multimodal}
