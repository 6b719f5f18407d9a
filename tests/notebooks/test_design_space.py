"""The ablations' notebook runs from top to bottom, and its differences are those that its input was made with."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from seqboat_lab.analysis.report import write_csv

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "design_space.ipynb"
GAIN = {"ema": 0.0, "s4d": -0.05, '{"kernel": "s5", "state_size": 4}': 0.001}
LUCK, TWITCH = (0.0, 0.2, 0.1), (0.004, -0.003, 0.002)


@pytest.fixture
def ablation(tmp_path) -> Path:
    settings = [json.loads(key) if key.startswith("{") else key for key in GAIN]
    rows = []
    for place, key in enumerate(GAIN):
        for seed in range(3):
            accuracy = 0.4 + LUCK[seed] + GAIN[key] + TWITCH[seed] * (place - 1)
            row = {"number": len(rows), "state": "complete", "val/accuracy": accuracy, "val/activation_rate": 0.5}
            rows.append(row | {"model.ssm": key, "seed": seed})
    rows.append({**rows[0], "number": len(rows), "state": "failed", "val/accuracy": None})
    write_csv(tmp_path / "trials.csv", rows)
    space = {"model.ssm": {"choices": settings}, "seed": {"choices": [0, 1, 2]}}
    sweep = {"objectives": {"val/accuracy": "maximize", "val/activation_rate": "minimize"}, "space": space}
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
    return tmp_path


def run(directory: Path) -> tuple[str, int]:
    """What it prints, and how many pictures it shows."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(directory)}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "".join(o.get("text", "") for o in outputs), sum("image/png" in o.get("data", {}) for o in outputs)


def test_it_finds_the_differences_that_are_there(ablation, monkeypatch):
    monkeypatch.setenv("SEQBOAT_SWEEP", str(ablation))
    printed, pictures = run(ablation)
    assert pictures == 1
    assert "'complete': 9, 'stopped': 0, 'failed': 1} - compared: model.ssm - pairs: seed" in printed
    table = [line.split() for line in printed[printed.index("row minus column") :].splitlines() if " (0) " in line[:9]]
    assert table[-1] == ["(0)", "+0.0490*", "-0.0030"]  # of ema to the others: 0.05 and -0.001, less a mean twitch each
    assert "0.4990  [" in printed  # the mean of ema


def test_without_a_sweep_it_says_which_to_make(tmp_path, monkeypatch):
    monkeypatch.delenv("SEQBOAT_SWEEP", raising=False)
    (tmp_path / "runs").mkdir()
    printed, _ = run(tmp_path)
    assert "There is no such sweep yet: `seqboat sweep design_space_kernels` makes the first." in printed
