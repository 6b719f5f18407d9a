"""The report that a person with GPUs sends back, without a GPU."""

import subprocess
import sys

import pytest
import torch

from benchmarks import gpu_report
from benchmarks.gpu_report import RECIPES, REHEARSAL, ROOT, TINY_DATA, Result, as_table, main, on_gpus
from seqboat_lab.config import load_experiment


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--out", str(tmp_path / "report.md")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no CUDA device" in err
    assert "--rehearse" in err
    assert not list(tmp_path.iterdir())


def test_as_many_devices_as_there_are():
    assert [on_gpus(n).devices for n in (1, 2, 3, 8, 16)] == [[1], [1, 2], [1, 2], [1, 2, 4, 8], [1, 2, 4, 8]]


def test_every_recipe_that_is_meant_for_gpus_is_trained_as_it_stands():
    configs = [str(path.relative_to(ROOT / "configs").with_suffix("")) for path in (ROOT / "configs").rglob("*.yaml")]
    assert set(RECIPES) == {name for name in configs if not name.endswith(("_short", "_tiny"))} == set(TINY_DATA)
    for recipe, overrides in RECIPES.items():
        assert load_experiment(recipe, list(overrides)).model == load_experiment(recipe).model
        load_experiment(recipe, [*overrides, *gpu_report.TINY, *TINY_DATA[recipe]])
    assert gpu_report.micro_batch("lra/pathx") == 2  # 2 images x 8 accumulated x 8 GPUs


def fake_run(speed, failing=()):
    """Of a training that does what it was told: `speed(devices, batch)` tokens/s."""

    def run(command):
        if "fit" not in command:
            return Result(0, 1.0, "12 passed\n")
        recipe, settings = command[3], dict(word.split("=", 1) for word in command if "=" in word)
        if recipe in failing:
            return Result(1, 1.0, "Traceback\n  ...\nRuntimeError: out of | memory\n")
        run_dir = gpu_report.Path(command[command.index("--run-dir") + 1])
        run_dir.mkdir()
        (run_dir / "summary.json").write_text('{"peak_memory_bytes": 3000000000}')
        per_second = speed(int(settings["trainer.devices"]), int(settings["data.batch_size"]))
        rows = [f"{step},{2 - step / 10},{per_second if step > 1 else 1.0}" for step in range(5)]
        (run_dir / "metrics.csv").write_text("\n".join(["step,train/loss,tokens_per_second", *rows]) + "\n")
        return Result(0, 1.0, "")

    return run


def test_it_tells_ratios_losses_and_failures(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        gpu_report, "run", fake_run(lambda n, batch: 1000.0 * n * min(1, batch / (64 * n)), ["lra/text"])
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(gpu_report, "facts", lambda: ["four of a kind"])
    path = tmp_path / "new" / "report.md"
    assert main(["--out", str(path)]) == 0
    text = path.read_text()
    assert text.startswith("# GPU report")
    assert "12 passed" in text
    assert "four of a kind" in text
    assert "| 4 | the same batch | 64 | 1e+03 | 1e+03 | 1 |" in text
    assert "| 4 | the same batch a device | 256 | 1e+03 | 4e+03 | 4 |" in text
    assert "| lra/text | bf16-mixed | 50 |  |  |  |  | RuntimeError: out of / memory |" in text
    assert "| lra/image | 32-true | 50 | 2 | 1.6 | " in text
    assert f"wrote {path}" in capsys.readouterr().out


def test_tables_have_a_column_for_whatever_a_row_has():
    assert as_table([{"a": 1}, {"a": 2, "b": "x|y"}]).splitlines() == [
        "| a | b |", "| --- | --- |", "| 1 |  |", "| 2 | x/y |",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_whole_of_it_on_a_cpu(tmp_path):
    path = tmp_path / "report.md"
    command = [sys.executable, "-m", "benchmarks.gpu_report", "--rehearse", "--out", str(path)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert "failed" not in text
    assert "exit status 0" in text
    assert "exit status 1" not in text
    assert all(f"| {recipe} | 32-true |" in text for recipe in RECIPES)
    assert f"| {REHEARSAL.devices[-1]} | the same batch a device | 16 |" in text
