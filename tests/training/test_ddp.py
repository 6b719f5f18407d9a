"""Two processes take the step that one process takes on the joined batch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from seqboat_lab.training import experiment
from seqboat_lab.training.results import read_summary
from tests.training.test_experiment import assert_same_weights, weights

CLI = [sys.executable, "-m", "seqboat_lab.cli"]


def run_with_two_processes(config, run_dir: Path) -> dict:
    experiment.write_config(config, run_dir)
    environment = {k: v for k, v in os.environ.items() if k != "SEQBOAT_RUN_DIR"}
    command = [*CLI, "fit", str(run_dir / "config.yaml"), "trainer.devices=2", "--run-dir", str(run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_summary(run_dir)


@pytest.mark.parametrize("attention", ["softmax", "relu2"])
def test_two_processes_equal_one_on_the_joined_batch(tiny, tmp_path, attention):
    # plain SGD steps would do; Adam's first ones divide by |g|, so near-zero gradients need double precision
    config = tiny(
        "model.dropout=0", "trainer.max_steps=4", "trainer.val_every=4", "trainer.precision=64-true",
        f"model.attention={attention}",
    )  # fmt: skip
    one = experiment.fit(config, tmp_path / "one")
    two = run_with_two_processes(config, tmp_path / "two")
    assert_same_weights(weights(tmp_path / "one"), weights(tmp_path / "two"), rtol=1e-6, atol=1e-8)
    assert two["steps"] == 4
    for name, value in one["metrics"].items():
        if name.startswith("val/"):
            assert two["metrics"][name] == pytest.approx(value, rel=1e-5), name


def test_a_rank_whose_tokens_are_all_inactive_does_not_hang_the_others(tiny, tmp_path):
    config = tiny(
        "trainer.max_steps=2", "trainer.val_every=2", "optim.warmup_steps=1", "model.configurator={kind: never}"
    )
    assert run_with_two_processes(config, tmp_path)["metrics"]["val/activation_rate"] == 0.0
    assert all(torch.isfinite(w).all() for w in weights(tmp_path).values())


def test_sigterm_ends_all_processes(tiny, tmp_path):
    experiment.write_config(tiny("trainer.max_steps=5000", "trainer.val_every=50"), tmp_path)
    command = [*CLI, "fit", str(tmp_path / "config.yaml"), "trainer.devices=2", "--run-dir", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"seqboat fit --resume {tmp_path}" in errors
