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


TEXT = [
    "data.tokens_per_sample=24", "data.batch_size=8", "data.val_fraction=0.1", "data.test_fraction=0.1",
    "model.layers=2", "model.d_model=16", "model.d_hidden=16", "model.d_attention=8", "model.memory_size=6",
    "model.ssm.state_size=4", "optim.warmup_steps=2", "trainer.max_steps=8", "trainer.val_every=4",
    "trainer.val_batches=null", "trainer.log_every=2", "trainer.threads=1",
]  # fmt: skip


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """4,000 bytes with something to learn."""
    path = tmp_path_factory.mktemp("text") / "numbers.txt"
    path.write_bytes(" ".join(str(i * i) for i in range(1000)).encode()[:4000])
    return path


@pytest.fixture
def tiny_text(text_file, data_root):
    """A language modelling experiment that takes seconds."""

    def make(*overrides: str) -> ExperimentConfig:
        return load_experiment("text_tiny", [*TEXT, f"data.path={text_file}", f"data.root={data_root}", *overrides])

    return make
