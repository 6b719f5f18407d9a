"""Two processes take the step that one process takes on the joined batch."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seqboat_lab.training import experiment
from seqboat_lab.training.results import read_summary
from tests.training.same_run import assert_same_run
from tests.training.test_experiment import assert_same_weights, weights

CLI = [sys.executable, "-m", "seqboat_lab.cli"]


def run_with_two_processes(config, run_dir: Path) -> dict:
    experiment.write_config(config, run_dir)
    environment = {k: v for k, v in os.environ.items() if k != "SEQBOAT_RUN_DIR"}
    command = [*CLI, "fit", str(run_dir / "config.yaml"), "trainer.devices=2", "--run-dir", str(run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_summary(run_dir)


@pytest.mark.parametrize("attention", ["softmax", pytest.param("relu2", marks=pytest.mark.slow)])
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


def test_one_process_that_accumulates_equals_two_bit_for_bit(tiny, tmp_path):
    # g/2 + h/2 has one order only, so nothing may differ: neither samples nor dropout nor schedules
    config = tiny("model.dropout=0.1", "trainer.max_steps=6", "trainer.val_every=6", "trainer.precision=64-true")
    experiment.fit(replace(config, trainer=replace(config.trainer, accumulate=2)), tmp_path / "one")
    run_with_two_processes(config, tmp_path / "two")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


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


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_two_processes_save_the_same_step_and_go_on_as_if_nothing_had_been(tiny, tmp_path, number):
    settings = ["trainer.devices=2", "trainer.accumulate=2", "trainer.val_every=30", "trainer.max_steps=120",
                "model.dropout=0.2", "trainer.progress=false"]  # fmt: skip
    experiment.write_config(tiny(*settings), tmp_path)

    def command(run: str) -> list[str]:
        return [*CLI, "fit", str(tmp_path / "config.yaml"), "--run-dir", str(tmp_path / run), "--resume-or-start"]

    cuts = 0
    for part in range(4):
        process = subprocess.Popen(command("cut"), stderr=subprocess.PIPE, text=True)
        log = tmp_path / "cut" / "metrics.csv"
        size = log.stat().st_size if log.exists() else 0
        while process.poll() is None and not (log.exists() and log.stat().st_size > size + 1000):
            time.sleep(0.01)
        time.sleep(0.1 * part)  # in training, or in a validation
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, 128 + number), errors
        cuts += process.returncode != 0
    assert cuts >= 2
    for run in ("cut", "whole"):
        subprocess.run(command(run), check=True, timeout=240)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
