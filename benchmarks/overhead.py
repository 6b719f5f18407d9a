"""What training costs besides forward, backward and optimiser."""

import tempfile
import time
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

from benchmarks.measure import DEVICE, wait
from seqboat_lab.config import load_experiment
from seqboat_lab.training import experiment
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.optim import make_optimizer


class Stopwatch(Callback):
    """Seconds of a whole fit, and those from the first training batch to the last."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.start


REPEATS = 3


def overhead(steps: int = 300) -> dict[str, float]:
    """The run of median compute share, of some."""
    runs = sorted((_once(steps) for _ in range(REPEATS)), key=lambda run: run["compute share of fit"])
    return runs[REPEATS // 2]


def _once(steps: int) -> dict[str, float]:
    """A fit of `steps` updates with its logging between two plain loops of as many over the same batches: what an
    update costs depends on how many tokens are active, which changes as a model learns.

    compute share: seconds of forward, backward, clipping and optimiser in the plain loop, of all seconds that the
    fit took for the same updates, validation left out.
    """
    overrides = [f"trainer.max_steps={steps}", f"trainer.val_every={steps}", "trainer.progress=false"]
    config = load_experiment("lra/listops_short", overrides)
    watch = Stopwatch()
    plain_before = _plain_loop(config, steps)
    with tempfile.TemporaryDirectory() as run_dir:
        experiment.fit(config, Path(run_dir), extra=[watch, timer := _Validation()])
    plain_after = _plain_loop(config, steps)
    plain = {k: (plain_before[k] + plain_after[k]) / 2 for k in plain_before}
    fit = (watch.seconds - timer.seconds) / steps
    return {
        "fit s/step": fit,
        "plain compute s/step": plain["compute"],
        "plain loading s/step": plain["loading"],
        "compute share of fit": plain["compute"] / fit,
    }


class _Validation(Callback):
    seconds = 0.0

    def on_validation_start(self, *args) -> None:
        self.start = time.perf_counter()

    def on_validation_end(self, *args) -> None:
        self.seconds += time.perf_counter() - self.start


def _plain_loop(config, steps: int) -> dict[str, float]:
    import torch

    data = make_datamodule(config)
    data.prepare_data()
    data.setup()
    module = experiment.make_module(config, data).to(DEVICE)
    optimizer, schedule = make_optimizer(module.model, config.optim, config.trainer.max_steps)
    batches = iter(data.train_dataloader())
    next(batches)
    times = {"loading": 0.0, "compute": 0.0}
    for _ in range(steps):
        start = time.perf_counter()
        batch = module.transfer_batch_to_device(next(batches), module.device, 0)
        loaded = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(module(batch).logits, batch.labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.optim.clip_norm)
        optimizer.step()
        schedule.step()
        wait()
        times["loading"] += loaded - start
        times["compute"] += time.perf_counter() - loaded
    return {name: value / steps for name, value in times.items()}
