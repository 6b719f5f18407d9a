"""A sweep whose trials take seconds."""

from pathlib import Path

import pytest

TINY_SWEEP = """\
experiment: lra/listops_short
name: tiny
objectives: {{val/accuracy: maximize, val/activation_rate: minimize}}
space:
  model.memory_size: {{choices: [2, 4, 8]}}
  model.configurator.temperature_scale: {{low: 0.1, high: 3, log: true}}
trials: 4
sampler: random
overrides:
  data: {{root: {root}, max_length: 40, train_size: 400, val_size: 100, test_size: 20, batch_size: 16}}
  model: {{d_model: 16, d_hidden: 16, d_attention: 8, classifier_hidden: 16}}
  optim: {{warmup_steps: 2}}
  trainer: {{max_steps: {steps}, val_every: 5, log_every: 5}}
"""


@pytest.fixture(scope="session")
def sweep_data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def tiny_sweep(tmp_path, monkeypatch, sweep_data):
    """Writes the sweep file; runs go below the test's own directory."""
    monkeypatch.chdir(tmp_path)

    def make(steps: int = 10, extra: str = "") -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY_SWEEP.format(root=sweep_data, steps=steps) + extra)
        return path

    return make
