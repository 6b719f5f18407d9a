"""A ListOps experiment that takes seconds."""

import os
from pathlib import Path

import pytest

from seqboat_lab.config import ExperimentConfig, load_experiment

TINY = [
    "data.max_length=40", "data.train_size=400", "data.val_size=101", "data.test_size=20", "data.batch_size=16",
    "model.d_model=16", "model.d_hidden=16", "model.d_attention=8", "model.memory_size=8", "model.classifier_hidden=16",
    "optim.warmup_steps=2", "trainer.max_steps=8", "trainer.val_every=4", "trainer.log_every=2", "trainer.threads=1",
]  # fmt: skip


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def tiny(data_root):
    def make(*overrides: str) -> ExperimentConfig:
        return load_experiment("lra/listops_short", [*TINY, f"data.root={data_root}", *overrides])

    return make


@pytest.fixture(autouse=True)
def _no_shared_run_dir(monkeypatch):
    monkeypatch.delenv("SEQBOAT_RUN_DIR", raising=False)
    yield
    os.environ.pop("SEQBOAT_RUN_DIR", None)
