"""`trainer.loggers`: each holds what was logged, and a resumed run goes on in it as the same run."""

import json
import os

import pytest

from seqboat_lab.cli import main
from seqboat_lab.training.run_directory import RUN_DIR_VARIABLE

FIT = [
    "fit", "recall/noisy_mqar_tiny", "data.length=16", "data.pairs=2", "data.noise=0.5", "data.batch_size=4",
    "data.val_size=8", "model.d_model=8", "model.d_hidden=8", "model.d_attention=4", "model.memory_size=8",
    "optim.warmup_steps=1", "trainer.max_steps=4", "trainer.val_every=2", "trainer.log_every=1",
    "trainer.progress=false", "trainer.accelerator=cpu", "trainer.threads=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in (RUN_DIR_VARIABLE, "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")


def fit(*words: str) -> int:
    os.environ.pop(RUN_DIR_VARIABLE, None)
    return main([*FIT, *words, "--run-dir", "run"])


def validations(run) -> list[dict]:
    return [json.loads(line) for line in (run / "validations.jsonl").read_text().splitlines()]


def test_without_any_logger_a_run_keeps_what_sweeps_read_and_goes_on_with_one(tmp_path, capsys):
    assert fit("trainer.loggers=[]") == 0
    run = tmp_path / "run"
    assert "tensorboard" not in capsys.readouterr().out
    assert not [*run.glob("events*"), *run.glob("*.csv")]
    assert [v["step"] for v in validations(run)] == [2, 4]
    assert json.loads((run / "summary.json").read_text())["steps"] == 4
    assert main(["fit", "--resume", "run", "trainer.max_steps=6", "trainer.loggers=[csv, tensorboard]"]) == 0
    assert "5," in (run / "metrics.csv").read_text()
    assert [*run.glob("events*")]


@pytest.mark.parametrize(
    ("loggers", "told"),
    [
        ("[tensorbord]", "trainer.loggers: unknown value 'tensorbord' (did you mean 'tensorboard'?)"),
        ("[csv, csv]", "expected each logger once"),
        ("csv", "expected a list"),
        ("[wandb]", "pip install 'seqboat-lab[wandb]'"),
        ("[csv, mlflow]", "pip install 'seqboat-lab[mlflow]'"),
    ],
)
def test_what_cannot_log_is_one_line_and_leaves_no_run(tmp_path, monkeypatch, capsys, loggers, told):
    for module in (
        "lightning.pytorch.loggers.wandb._WANDB_AVAILABLE",
        "lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE",
    ):
        monkeypatch.setattr(module, False)  # as on a machine without the extras
    assert fit(f"trainer.loggers={loggers}") == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_mlflow_holds_every_value_and_the_configuration_and_a_resumed_run_is_the_same_one(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    assert fit("trainer.loggers=[mlflow, csv]") == 0
    assert main(["fit", "--resume", "run", "trainer.max_steps=6"]) == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/run/mlflow.db")
    (held,) = client.search_runs([client.get_experiment_by_name("seqboat").experiment_id])
    assert held.data.params["model/memory_size"] == "8"
    assert held.info.status == "FINISHED"
    for metric in ("val/accuracy", "val/activation_rate/layer_1", "cost/flops_per_token"):
        found = {each.step: each.value for each in client.get_metric_history(held.info.run_id, metric)}
        assert found == {v["step"]: pytest.approx(v[metric]) for v in validations(tmp_path / "run")}


def test_wandb_holds_the_run_offline_and_a_resumed_run_is_the_same_one(tmp_path):
    pytest.importorskip("wandb")
    assert fit("trainer.loggers=[wandb]") == 0
    first = json.loads((tmp_path / "run" / "tracked.json").read_text())["wandb"]
    assert main(["fit", "--resume", "run", "trainer.max_steps=6"]) == 0
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert [file.name for file in files] == [f"run-{first}.wandb"] * 2
    assert b"val/accuracy" in files[0].read_bytes()
    assert not (tmp_path / "wandb").exists()
