"""Every notebook runs from top to bottom on a small finished sweep."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from benchmarks.answers.index import QUESTIONS
from seqboat_lab.analysis.report import write_csv

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
ON_ANY_SWEEP = [path for path in NOTEBOOKS if path.stem not in ("baselines", "design_space", *QUESTIONS)]
"""Others have tests of their own."""
OBJECTIVES = {"val/accuracy": "maximize", "val/activation_rate": "minimize"}
SEARCHED = ["model.memory_size", "model.ssm.kernel"]


@pytest.fixture
def finished_sweep(tmp_path) -> Path:
    """A sweep directory as `seqboat sweep` leaves it, with numbers that this test knows."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(8):
        accuracy, rate = 0.3 + 0.05 * n, 0.1 + 0.1 * n + 0.05 * rng.random()
        state = "stopped" if n == 3 else "complete"
        layers = {f"val/activation_rate/layer_{i}": rate * (i + 0.5) for i in range(2)}
        values = dict(zip(OBJECTIVES, (accuracy, rate), strict=True))
        searched = dict(zip(SEARCHED, (2 ** (n % 4 + 1), ("ema", "s4d")[n % 2]), strict=True))
        rows.append(
            {"number": n, "state": state, **values, **searched, "step": 20, "seconds": 1.5, **layers, "run": ""}
        )
        run = tmp_path / "trials" / f"{n:04d}"
        run.mkdir(parents=True)
        curve = [{"step": s, **{m: v * s / 20 for m, v in values.items()}} for s in (10, 20)]
        (run / "validations.jsonl").write_text("".join(json.dumps(point) + "\n" for point in curve))
    write_csv(tmp_path / "trials.csv", rows)
    fields = {key: {"choices": [1]} for key in SEARCHED}
    (tmp_path / "sweep.yaml").write_text(json.dumps({"objectives": OBJECTIVES, "space": fields}))
    return tmp_path


@pytest.mark.parametrize("path", ON_ANY_SWEEP, ids=lambda p: p.stem)
def test_notebook_runs_from_top_to_bottom(path, finished_sweep, monkeypatch):
    monkeypatch.setenv("SEQBOAT_SWEEP", str(finished_sweep))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    shown = sum("plt.show()" in cell.source for cell in notebook.cells)
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= shown > 0
    printed = "".join(o.get("text", "") for o in outputs)
    assert "'complete': 7, 'stopped': 1, 'failed': 0" in printed
    assert "best:   trial 7: validation accuracy 0.65" in printed
    assert "frugal: trial 0: validation accuracy 0.3" in printed


def test_notebooks_are_stored_without_outputs():
    for path in NOTEBOOKS:
        assert not [cell for cell in nbformat.read(path, as_version=4).cells if cell.get("outputs")], path
