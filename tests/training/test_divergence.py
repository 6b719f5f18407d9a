"""A run that is not finite ends with an error, and never with its weights in a checkpoint."""

import json
import math

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from seqboat_lab.atomic import to_json
from seqboat_lab.cli import main
from seqboat_lab.training import experiment
from seqboat_lab.training.checkpoints import read_checkpoint
from seqboat_lab.training.reproducible import MOST_UNSEEN, DivergedError


class Poison(Callback):
    """Makes a weight NaN before the n-th batch, or after it."""

    def __init__(self, batch: int, hook: str = "on_train_batch_start"):
        self.batch = batch
        setattr(self, hook, self._poison)

    def _poison(self, trainer, module, *_):
        if module.batches_seen == self.batch:
            with torch.no_grad():
                getattr(module.model, "output", module.model.embedding).weight[0, 0] = torch.nan


@pytest.mark.parametrize(
    ("poison", "log_every", "message"),
    [
        (Poison(4), 1, "the loss is nan at step 5"),
        (Poison(4), 4, "the loss is nan at step 5"),  # between logged steps
        (Poison(4), 20, "the loss is nan at step 5"),  # at the validation of step 8, before its checkpoint
        (Poison(7), 20, "the loss is nan at step 8"),  # the last step
        (Poison(8, "on_train_batch_end"), 20, "the validation loss is nan at step 8"),
        (Poison(8, "on_validation_end"), 20, "the weight model.output.weight is not finite at step 8"),
    ],
)
def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tiny, tmp_path, poison, log_every, message):
    with pytest.raises(DivergedError, match=message):
        experiment.fit(tiny(f"trainer.log_every={log_every}"), tmp_path, extra=[poison])
    for name in ("best", "last"):
        checkpoint = read_checkpoint(tmp_path / "checkpoints" / f"{name}.ckpt")
        assert checkpoint["global_step"] == 4
        assert all(torch.isfinite(w).all() for w in checkpoint["state_dict"].values())
    assert not (tmp_path / "summary.json").exists()
    for line in (tmp_path / "validations.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    assert experiment.resume(tmp_path)["steps"] == 8


def test_a_language_model_diverges_the_same_way(tiny_text, tmp_path):
    with pytest.raises(DivergedError, match="the loss is nan at step 6"):
        experiment.fit(tiny_text("trainer.log_every=20"), tmp_path, extra=[Poison(5)])
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4


def test_a_run_without_logged_steps_is_looked_at_now_and_then(tiny, tmp_path):
    class Count(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            self.batches = module.batches_seen

    count = Count()
    with pytest.raises(DivergedError, match="the loss is nan at step 3"):
        experiment.fit(
            tiny("trainer.log_every=900", "trainer.max_steps=900", "trainer.val_every=900"), tmp_path,
            extra=[Poison(2), count],
        )  # fmt: skip
    assert count.batches == MOST_UNSEEN - 1


def test_the_command_ends_with_one_line(tiny, tmp_path, capsys):
    experiment.write_config(tiny("trainer.progress=false", "trainer.log_every=20"), tmp_path)
    absurd = ["optim.lr=10", "model.attention=relu2", "model.prenorm=true", "model.layers=4", "trainer.max_steps=100"]
    arguments = [*absurd, "optim.clip_norm=0", "--run-dir", str(tmp_path / "run")]
    assert main(["fit", str(tmp_path / "config.yaml"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("seqboat: the ")
    assert "at step" in line


def test_json_holds_null_for_what_is_not_finite():
    values = {"a": [math.nan, math.inf, {"b": -math.inf}], "c": 1.5, "d": None, "e": "NaN"}
    assert json.loads(to_json(values)) == {"a": [None, None, {"b": None}], "c": 1.5, "d": None, "e": "NaN"}
