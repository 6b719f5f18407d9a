"""A run leaves what it should, is reproducible, and goes on after an interruption as if there had been none."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqboat_lab.analysis.describe import describe
from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.training import experiment
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.run_directory import read_checkpoint


def weights(run_dir, name="last") -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def assert_same_weights(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


class StopAt(Callback):
    """Raises in the middle of training, as a crash would."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


def test_a_run_directory_holds_everything(tiny, tmp_path):
    config = tiny()
    summary = experiment.fit(config, tmp_path)
    assert load_experiment(tmp_path / "config.yaml") == config
    assert (tmp_path / "config.yaml").read_text().startswith("# seqboat_lab 0.1.0")
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 8
    assert len(summary["activation_rate_per_layer"]) == 2
    for name in ("parameters", "flops_per_token", "seconds", "peak_memory_bytes"):
        assert summary[name]
    validations = [json.loads(line) for line in (tmp_path / "validations.jsonl").read_text().splitlines()]
    assert [v["step"] for v in validations] == [4, 8]
    assert set(experiment.metric_names(config)) <= set(validations[-1])
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [row for row in rows if row["train/loss"]]
    assert len(losses) == 4
    assert all(row["lr"] and row["tokens_per_second"] and row["temperature/layer_1"] for row in losses)

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {
        "train/loss",
        "val/accuracy",
        "val/span/layer_0",
        "val/memory_fill/layer_1",
        "temperature/layer_0",
    } <= scalars
    assert set(events.Tags()["images"]) == {"activation raster", "activated tokens"}
    assert {"confidence/layer_0", "attention span/layer_1"} <= set(events.Tags()["histograms"])
    assert [e.step for e in events.Images("activation raster")] == [4, 8]


def test_validation_accuracy_is_that_of_the_model_over_every_sample(tiny, tmp_path):
    config = tiny("trainer.max_steps=4")
    reported = experiment.fit(config, tmp_path)["metrics"]
    data = make_datamodule(config)
    data.prepare_data()
    data.setup()
    module = experiment.make_module(config, data)
    module.load_state_dict(weights(tmp_path))
    module.eval()
    dataset = data.dataset("val")
    right = active = tokens = loss = 0.0
    for i in range(101):  # one by one: no batches, no padding
        sample = dataset[[i]]
        assert sample.padding_mask is None
        out = module(sample)
        right += (out.logits.argmax() == sample.labels).item()
        loss += torch.nn.functional.cross_entropy(out.logits, sample.labels).item()
        active += out.activations[0].active.sum().item()
        tokens += sample.inputs.numel()
    assert reported["val/accuracy"] == pytest.approx(right / 101)
    assert reported["val/loss"] == pytest.approx(loss / 101, rel=1e-4)
    assert reported["val/activation_rate/layer_0"] == pytest.approx(active / tokens, rel=1e-4)


def test_the_same_config_gives_the_same_numbers(tiny, tmp_path):
    for name in ("a", "b"):
        experiment.fit(tiny(), tmp_path / name)
    assert_same_weights(weights(tmp_path / "a"), weights(tmp_path / "b"))
    experiment.fit(tiny("seed=2"), tmp_path / "c")
    assert not torch.equal(
        weights(tmp_path / "a")["model.output.weight"], weights(tmp_path / "c")["model.output.weight"]
    )


def test_resuming_gives_the_numbers_of_an_uninterrupted_run(tiny, tmp_path):
    experiment.fit(tiny("model.dropout=0.3"), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="crash"):
        experiment.fit(tiny("model.dropout=0.3"), tmp_path / "cut", extra=[StopAt(6)])
    assert not (tmp_path / "cut" / "summary.json").exists()
    summary = experiment.resume(tmp_path / "cut")  # from the checkpoint of step 4
    assert summary["steps"] == 8
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))

    def curve(run):
        with (tmp_path / run / "metrics.csv").open() as file:
            return [(row["step"], row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]

    assert curve("cut") == curve("whole")

    def reported(run):
        with (tmp_path / run / "metrics.csv").open() as file:
            rows = [{k for k, v in row.items() if v} | {row["step"]} for row in csv.DictReader(file)]
        return sorted(map(sorted, rows))

    assert reported("cut") == reported("whole")


def test_accumulated_batches_take_the_step_of_their_mean_gradient(tiny, tmp_path):
    config = tiny(
        "model.dropout=0", "trainer.max_steps=1", "trainer.val_every=1", "trainer.accumulate=4",
        "optim.warmup_steps=0", "trainer.precision=64-true",
    )  # fmt: skip
    experiment.fit(config, tmp_path)
    data = make_datamodule(config)
    data.prepare_data()
    data.setup()
    module = experiment.make_module(config, data).double()
    batches = iter(data.train_dataloader())
    for _ in range(4):
        batch = next(batches)
        assert len(batch.labels) == 4
        (torch.nn.functional.cross_entropy(module(batch).logits, batch.labels) / 4).backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizers = module.configure_optimizers()
    optimizers["optimizer"].step()
    assert_same_weights(weights(tmp_path), module.state_dict(), rtol=1e-9, atol=1e-12)


def test_what_cannot_be_resumed_is_said_in_one_line(tiny, tmp_path):
    with pytest.raises(ConfigError, match="is no run directory"):
        experiment.resume(tmp_path)
    experiment.write_config(tiny(), tmp_path)
    with pytest.raises(ConfigError, match=r"last.ckpt: does not exist, so there is nothing to resume"):
        experiment.resume(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match=r"last.ckpt: is not a readable checkpoint") as caught:
        experiment.resume(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_last_step_is_validated_and_kept_whatever_val_every_is(tiny, tmp_path):
    summary = experiment.fit(tiny("trainer.max_steps=3", "trainer.val_every=2"), tmp_path)
    lines = (tmp_path / "validations.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 3]
    assert summary["metrics"]["step"] == 3
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 3
    assert read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["global_step"] in (2, 3)
    experiment.fit(tiny("trainer.max_steps=3", "trainer.val_every=500"), tmp_path / "short")
    assert (tmp_path / "short" / "checkpoints" / "best.ckpt").is_file()


def test_another_run_is_never_written_over(tiny, tmp_path):
    config = tiny("trainer.max_steps=3")
    experiment.fit(config, tmp_path / "run")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    with pytest.raises(ConfigError, match="run: already holds a run; continue it with --resume"):
        experiment.fit(config, tmp_path / "run")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/run")):
        with pytest.raises(ConfigError, match=f"{place}: cannot hold a run .*; choose another directory"):
            experiment.fit(config, place)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.memory_size=3", "model.memory_size: cannot change when a run is resumed"),
        ("model.d_model=32", "model.d_model: cannot change when a run is resumed"),
        ("seed=7", "seed: cannot change when a run is resumed"),
        ("trainer.accumulate=2", "trainer.accumulate: cannot change when a run is resumed"),
        ("trainer.max_steps=3", "trainer.max_steps: 3 is not possible here; expected at least the 4 steps done"),
    ],
)
def test_a_run_cannot_be_resumed_as_another_one(tiny, tmp_path, override, message):
    experiment.fit(tiny("trainer.max_steps=4"), tmp_path)
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=message):
        experiment.resume(tmp_path, [override])
    assert (tmp_path / "config.yaml").read_text() == before
    assert experiment.resume(tmp_path, ["trainer.max_steps=5"])["steps"] == 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_resume_that_cannot_start_loses_nothing(tiny, tmp_path):
    experiment.fit(tiny("trainer.max_steps=4"), tmp_path)
    before = (tmp_path / "metrics.csv").read_text()
    with pytest.raises(ConfigError, match=r"trainer.accelerator: gpu with 1 devices is not possible"):
        experiment.resume(tmp_path, ["trainer.accelerator=gpu"])
    assert (tmp_path / "metrics.csv").read_text() == before
    (tmp_path / "metrics.csv").write_text(before + "0,1")  # a line cut off, as by a full disk
    assert experiment.resume(tmp_path, ["trainer.max_steps=5"])["steps"] == 5
    (tmp_path / "metrics.csv").unlink()  # a run all the same, by its checkpoints
    with pytest.raises(ConfigError, match="already holds a run"):
        experiment.fit(tiny(), tmp_path)


def test_a_run_that_was_moved_knows_its_best_score(tiny, tmp_path, recwarn):
    experiment.fit(tiny("trainer.max_steps=4"), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    checkpoints = tmp_path / "there" / "checkpoints"
    states = read_checkpoint(checkpoints / "last.ckpt")["callbacks"]
    (state,) = (state for key, state in states.items() if "val/accuracy" in key)
    best = experiment.MovableCheckpoint(checkpoints, filename="best", monitor="val/accuracy", mode="max")
    best.load_state_dict(state)
    assert best.best_model_score == state["best_model_score"]
    assert best.best_k_models == {str(checkpoints / "best.ckpt"): state["best_model_score"]}
    experiment.resume(tmp_path / "there", ["trainer.max_steps=5"])
    assert not [w for w in recwarn if "dirpath" in str(w.message)]


@pytest.mark.parametrize("override", ["data.train_size=20", "data.val_size=2"])
def test_too_little_data_for_all_processes_leaves_no_run_behind(tiny, tmp_path, override):
    config = tiny("trainer.devices=3", "data.batch_size=24", override, f"data.root={tmp_path / 'data'}")
    with pytest.raises(DataError, match=r"fewer than one batch of 24|2 samples for 3 processes"):
        experiment.fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_torchrun_with_another_number_of_processes_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"trainer.devices: 1 is not possible here; torchrun started 2 processes"):
        experiment.fit(tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_says_so_and_leaves_nothing(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.accelerator: gpu with 1 devices is not possible on this machine"):
        experiment.fit(tiny("trainer.accelerator=gpu"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_data_leaves_no_run_behind(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"basic_train.tsv"):
        experiment.fit(tiny("data.source=official", f"data.root={tmp_path}/none"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lra/text_tiny", "bag"),
        ("lra/retrieval_tiny", "bag"),
        pytest.param("lra/pathfinder_short", "cnn", marks=pytest.mark.slow),
        pytest.param("lra/image_tiny", "cnn", marks=pytest.mark.slow),
    ],
)
def test_a_sanity_model_trains_through_the_real_datamodule_and_reports_no_activations(data_root, tmp_path, name, kind):
    small = [
        "model.d_model=16",
        "optim.warmup_steps=2",
        "trainer.max_steps=20",
        "trainer.val_every=20",
        "trainer.progress=false",
    ]
    if name == "lra/pathfinder_short":
        small += ["data.images=400"]
    config = load_experiment(name, [f"model.kind={kind}", f"data.root={data_root}", *small])
    summary = experiment.fit(config, tmp_path)
    assert math.isfinite(summary["metrics"]["val/loss"])
    assert sorted(n for n in summary["metrics"] if n != "step") == sorted(experiment.metric_names(config))
    assert summary["activation_rate_per_layer"] == []
    assert summary["flops_per_token"] is None
    describe(config, 0.5)
