"""The Python of README.md runs as it stands."""

import re
from pathlib import Path

from seqboat_lab.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text()
RUN, MODEL = re.findall(r"^```python\n(.*?)^```", README, flags=re.M | re.S)


def test_a_run_is_loaded_and_its_activations_are_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQBOAT_RUN_DIR", raising=False)
    short = ["data.train_size=64", "data.val_size=16", "data.test_size=16", "data.batch_size=8", "trainer.max_steps=2",
             "trainer.val_every=2", "optim.warmup_steps=1"]  # fmt: skip
    assert main(["fit", "lra/listops_short", "--run-dir", "runs/listops_short/now", *short]) == 0
    capsys.readouterr()
    exec(RUN.replace("<time>", "now"), {})
    *layers, tokens = capsys.readouterr().out.splitlines()
    assert len(layers) == 2
    assert "('[" in tokens


def test_the_model_runs_in_anyones_loop():
    exec(MODEL, {})
