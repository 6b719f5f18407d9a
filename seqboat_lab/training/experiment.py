"""One run from one config: builds data, model and trainer, trains, and leaves the run directory."""

import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from seqboat_lab.config import ConfigError, ExperimentConfig, load_experiment
from seqboat_lab.data import TASKS
from seqboat_lab.data.base import TaskDataModule
from seqboat_lab.training.classification import ClassificationModule
from seqboat_lab.training.language_modelling import LanguageModelModule
from seqboat_lab.training.pictures import ActivationRaster, custom_scalars
from seqboat_lab.training.progress import ProgressReport
from seqboat_lab.training.results import MetricsCsv, ResultFiles, cost_metric_names, write_config

MODULES = {
    "classifier": ClassificationModule,
    "pair": ClassificationModule,
    "language_model": LanguageModelModule,
}
"""The LightningModule of each kind of head."""

RUN_DIR_VARIABLE = "SEQBOAT_RUN_DIR"  # the processes of one DDP run agree on their directory through it


def make_datamodule(config: ExperimentConfig) -> TaskDataModule:
    """The task's DataModule; its batches are per process and backward pass."""
    share = config.trainer.devices * config.trainer.accumulate
    return TASKS[config.task](config.data, seed=config.seed, batch_size=config.data.batch_size // share)


def make_module(config: ExperimentConfig, datamodule: TaskDataModule) -> L.LightningModule:
    """The task's LightningModule, initialised from the experiment's seed."""
    torch.manual_seed(config.seed)
    return MODULES[datamodule.spec.head](config, datamodule.spec)


def metric_names(config: ExperimentConfig) -> list[str]:
    """Every metric a run of this experiment reports at each validation: what a sweep may optimise."""
    datamodule = make_datamodule(config)
    return [*MODULES[datamodule.spec.head].metric_names(config), *cost_metric_names(config.model)]


def new_run_dir(experiment: str, root: Path = Path("runs")) -> Path:
    """`runs/<experiment>/<time>`, the same for all processes of a run."""
    if RUN_DIR_VARIABLE not in os.environ:
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        run_dir, n = root / experiment / stamp, 1
        while run_dir.exists():
            run_dir, n = root / experiment / f"{stamp}_{n}", n + 1
        os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    return Path(os.environ[RUN_DIR_VARIABLE])


def fit(
    config: ExperimentConfig, run_dir: Path, checkpoint: Path | None = None, extra: Sequence[Callback] = ()
) -> dict:
    """Trains, and returns what `summary.json` holds.

    Args:
        run_dir: gets config.yaml, TensorBoard events, metrics.csv, validations.jsonl, checkpoints/, summary.json.
        checkpoint: resume from here, with the same numbers as without the interruption.
        extra: further Lightning callbacks.
    """
    quiet()
    settings = config.trainer
    torch.set_num_threads(settings.threads or max(1, (os.cpu_count() or 1) // settings.devices))
    datamodule = make_datamodule(config)
    module = make_module(config, datamodule)
    resume_step = None if checkpoint is None else read_checkpoint(checkpoint)["global_step"]

    datamodule.prepare_data()  # before anything is written: missing data, or too little, must leave no run behind
    datamodule.setup()
    datamodule.train_dataloader()
    write_config(config, run_dir)
    results = ResultFiles(config, run_dir)
    name, mode = module.monitor
    checkpoints = run_dir / "checkpoints"
    best = ModelCheckpoint(checkpoints, filename="best", monitor=name, mode=mode, enable_version_counter=False)
    # one of its own: with `save_last`, Lightning writes last.ckpt only when there is a new best
    last = ModelCheckpoint(checkpoints, filename="last", enable_version_counter=False)
    callbacks = [results, best, last, ActivationRaster(), *extra]
    if settings.progress:
        callbacks.append(ProgressReport(settings.max_steps, settings.log_every))
    tensorboard = TensorBoardLogger(str(run_dir), name="", version="", default_hp_metric=False)
    trainer = L.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        precision=settings.precision,
        max_steps=settings.max_steps,
        val_check_interval=settings.val_every * settings.accumulate,
        check_val_every_n_epoch=None,
        limit_val_batches=settings.val_batches,
        num_sanity_val_steps=0,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=config.optim.clip_norm or None,
        log_every_n_steps=settings.log_every,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        logger=[tensorboard, MetricsCsv(run_dir, resume_step)],
        default_root_dir=run_dir,
    )
    if trainer.is_global_zero:
        tensorboard.experiment.add_custom_scalars(custom_scalars(config))
    trainer.fit(module, datamodule, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    if results.validated_step != trainer.global_step:
        trainer.validate(module, datamodule, verbose=False)
    return results.write_summary(trainer, module) if trainer.is_global_zero else {}


def run_config(run_dir: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The experiment of a run directory. Raises `ConfigError` if it is none."""
    if not (run_dir / "config.yaml").is_file():
        raise ConfigError(str(run_dir), "is no run directory: it has no config.yaml")
    return load_experiment(run_dir / "config.yaml", overrides)


def resume(run_dir: Path, overrides: Sequence[str] = ()) -> dict:
    """Continues the run in `run_dir` from its last checkpoint."""
    config, checkpoint = run_config(run_dir, overrides), run_dir / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise ConfigError(str(checkpoint), "does not exist, so there is nothing to resume; start the run anew")
    os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    return fit(config, run_dir, checkpoint)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, plain data only. Raises `ConfigError` if it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(str(path), "does not exist") from None
    except Exception as error:  # torch raises many types for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(str(path), f"is not a readable checkpoint: {reason}") from None


def quiet() -> None:
    """Silences what Lightning says about choices made here on purpose."""
    import logging

    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch.accelerators.cuda").setLevel(logging.ERROR)
    for about in (
        ".*does not have many workers.*",
        ".*IterableDataset.*__len__.*",
        ".*Checkpoint directory.*exists.*",
        ".*Experiment logs directory.*",
        ".*lr_scheduler.step.*",
        ".*treespec.*",
        ".*LeafSpec.*",
        ".*sync_dist=True.*",  # our metrics are torchmetrics: they are already summed over the ranks
    ):
        warnings.filterwarnings("ignore", message=about)
