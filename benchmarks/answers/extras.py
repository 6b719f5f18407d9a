"""What a question needs of its runs beside their last validations: tables by name, for `keep`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from benchmarks.answers.decisions import information_of, scores_of
from benchmarks.multimodal import lines
from seqboat_lab.analysis import tables

Runs = list[tuple[str, int, Path]]
"""Task, number and directory of every run of a question."""
STREAMED = 1_000_000


def learning(runs: Runs) -> dict[str, pd.DataFrame]:
    """`decisions`: a row a layer of each run (see `information_of` and `scores_of`). `raster`: decisions of the first
    validation sequence over training, of each task's first run."""
    decisions = []
    for task, number, run in runs:
        found, scores = information_of(run), scores_of(run)
        decisions += [{"task": task, "number": number, **row, **scores} for row in found]
    return {"decisions": pd.DataFrame(decisions), "raster": pd.concat(_rasters(runs), ignore_index=True)}


def _rasters(runs: Runs) -> Iterator[pd.DataFrame]:
    for task, number, run in runs:
        if number == 0:
            record = tables.decisions_over_time(run)
            kept = record[record["sequence"] == 0][["step", "layer", "position", "active"]]
            yield kept.astype({"active": int}).assign(task=task)


def multimodal(runs: Runs) -> dict[str, pd.DataFrame]:
    """`stream`: what `benchmarks.multimodal` says of each run over a million tokens."""
    rows = [row for _, _, run in runs for row in lines(run, STREAMED)]
    table = pd.DataFrame(rows)
    return {"stream": table.map(lambda cell: json.dumps(cell) if isinstance(cell, (dict, list)) else cell)}


EXTRAS: dict[str, Callable[[Runs], dict[str, pd.DataFrame]]] = {"learning": learning, "multimodal": multimodal}
