"""Packs what sweeps over mixers found into docs/, so that pages and notebooks need no runs.

    .venv/bin/python -m benchmarks.baselines runs/sweeps/baselines_recall [--front runs/sweeps/recall_pareto]

writes docs/results_baselines_recall.jsonl: a line for every finished or failed run (mixer, learning rate, seed,
quality, FLOPs, seconds), and with `--front` one for every point of that sweep's front of quality and FLOPs.
`python -m benchmarks.baselines_report` makes docs/results_baselines.md of all of them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqboat_lab import command
from seqboat_lab.analysis.baselines import tidy, tidy_front
from seqboat_lab.atomic import write_text
from seqboat_lab.config.checks import require

DOCS = Path("docs")
PREFIX = "results_baselines_"


def pack(directory: Path, front: Path | None = None, docs: Path = DOCS) -> Path:
    """Writes the rows of a sweep, and of another one's front; returns the file."""
    rows = tidy(directory)
    require(bool(rows), str(directory), "no run", "a sweep with at least one finished run")
    rows += tidy_front(front) if front else []
    path = docs / f"{PREFIX}{directory.name.removeprefix('baselines_')}.jsonl"
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return path


def packed(docs: Path = DOCS) -> dict[str, list[dict[str, Any]]]:
    """The rows of every packed sweep, by its task."""
    files = sorted(docs.glob(f"{PREFIX}*.jsonl"))
    return {path.stem.removeprefix(PREFIX): [json.loads(x) for x in path.read_text().splitlines()] for path in files}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="runs/sweeps/baselines_TASK")
    parser.add_argument("--front", type=Path, help="a sweep over SeqBoat's own fields on the same task")
    options = parser.parse_args(arguments)
    print(f"wrote {pack(options.directory, options.front)}")


if __name__ == "__main__":
    raise SystemExit(command.run(main))
