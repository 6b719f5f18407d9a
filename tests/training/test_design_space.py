"""Every kernel and every configurator trains from its published start, with no other setting changed."""

import csv
import math
import statistics

import pytest

from seqboat_lab.config import load_experiment
from seqboat_lab.config.configurator import CONFIGURATOR_CONFIGS
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.training.experiment import fit

CHOICES = [f"model.ssm.kernel={kernel}" for kernel in SSM_CONFIGS]
CHOICES += [f"model.configurator={{kind: {kind}}}" for kind in CONFIGURATOR_CONFIGS]


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_300_updates_on_short_listops_lower_the_loss(choice, tmp_path, data_root):
    settings = ["trainer.max_steps=300", "trainer.val_every=300", "trainer.progress=false", "trainer.threads=1"]
    config = load_experiment("lra/listops_short", [*settings, f"data.root={data_root}", choice])
    summary = fit(config, tmp_path)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    assert all(math.isfinite(loss) for loss in losses)
    assert statistics.mean(losses[-3:]) < losses[0] - 0.2
    assert summary["metrics"]["val/accuracy"] > 0.2  # always answering the most frequent digit gives about 0.16


@pytest.mark.parametrize("choice", CHOICES)
def test_a_few_updates_of_every_choice_leave_finite_metrics(choice, tmp_path, tiny):
    summary = fit(tiny(choice, "model.ssm.state_size=4", "trainer.max_steps=4", "trainer.progress=false"), tmp_path)
    assert all(math.isfinite(value) for value in summary["metrics"].values())
