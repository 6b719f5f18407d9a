"""The baselines' notebook runs from top to bottom, on results and without any."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "baselines.ipynb"


def run(directory: Path) -> tuple[str, int]:
    """What it prints, and how many pictures it shows."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(directory)}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "".join(o.get("text", "") for o in outputs), sum("image/png" in o.get("data", {}) for o in outputs)


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_it_shows_each_mixer_at_its_best_learning_rate(tmp_path, monkeypatch):
    row = {"task": "recall/noisy_mqar_tiny", "state": "complete", "metric": "val/accuracy", "direction": "maximize",
           "activation_rate": None, "parameters": 7, "training_flops": 9.0, "seconds": 3.0, "steps": 10}  # fmt: skip
    rows = [
        {
            **row,
            "mixer": mixer,
            "model": {"kind": mixer},
            "lr": lr,
            "seed": seed,
            "quality": quality + 0.01 * seed,
            "forward_flops": 3.0,
        }
        for mixer, qualities in {"seqboat": (0.5, 0.7), "transformer": (0.6, 0.4)}.items()
        for lr, quality in zip((0.001, 0.01), qualities, strict=True)
        for seed in (1, 2, 3)
    ]
    front = [
        {**row, "mixer": "seqboat, searched", "model": {}, "lr": None, "seed": None, "quality": q, "forward_flops": f}
        for q, f in ((0.8, 5.0), (0.3, 2.0))
    ]
    write(tmp_path / "docs" / "results_baselines_recall.jsonl", rows + front)
    lengths = [
        {"mixer": "gla", "length": n, "forward": n, "step": 3.0 * n, "token": 1.0, "state_bytes": 64} for n in (10, 80)
    ]
    write(tmp_path / "docs" / "results_lengths.jsonl", lengths)
    monkeypatch.setenv("SEQBOAT_RESULTS", str(tmp_path))
    printed, pictures = run(tmp_path)
    assert pictures == 3
    assert "recall: 12 runs, 0 failed, 2 mixers" in printed
    half = 4.302652729911275 * 0.01 / 3**0.5  # t quantile of 2 degrees of freedom
    assert f"seqboat             0.7200 [{0.72 - half:7.4f}, {0.72 + half:7.4f}]" in printed
    assert printed.index("seqboat  ") < printed.index("transformer  ")
    assert "recall: transformer is best at the end of its learning rates, 0.001" in printed
    assert "8 x, 10 to 80" in printed


@pytest.mark.slow  # another kernel
def test_without_results_it_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQBOAT_RESULTS", str(tmp_path))
    printed, _ = run(tmp_path)
    assert "There are no results yet: `seqboat sweep baselines_recall` makes the first." in printed
    assert "There are no measurements yet" in printed
