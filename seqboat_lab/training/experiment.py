"""One run from one config: builds data, model and trainer, trains, and leaves the run directory."""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.config.experiment import TrainerConfig
from seqboat_lab.data import TASKS
from seqboat_lab.data.base import TaskDataModule, as_first_of
from seqboat_lab.training.classification import ClassificationModule
from seqboat_lab.training.language_modelling import LanguageModelModule
from seqboat_lab.training.pictures import ActivationRaster, custom_scalars
from seqboat_lab.training.progress import ProgressReport
from seqboat_lab.training.results import MetricsCsv, ResultFiles, cost_metric_names, write_config
from seqboat_lab.training.run_directory import (
    RUN_DIR_VARIABLE,
    is_first_process,
    make_run_dir,
    read_checkpoint,
    resumable,
)
from seqboat_lab.training.tokens import TokenModule

MODULES = {
    "classifier": ClassificationModule,
    "pair": ClassificationModule,
    "language_model": LanguageModelModule,
    "tokens": TokenModule,
}
"""The LightningModule of each kind of head."""


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
    with as_first_of(settings.devices):
        datamodule.train_dataloader()
        datamodule.val_dataloader()
    results = ResultFiles(config, run_dir)
    name, mode = module.monitor
    checkpoints = run_dir / "checkpoints"
    best = MovableCheckpoint(checkpoints, filename="best", monitor=name, mode=mode, enable_version_counter=False)
    # one of its own: with `save_last`, Lightning writes last.ckpt only when there is a new best
    last = MovableCheckpoint(checkpoints, filename="last", enable_version_counter=False)
    callbacks = [LastStepValidates(), SigtermBetweenSteps(), results, best, last, ActivationRaster(), *extra]
    if settings.progress:
        callbacks.append(ProgressReport(settings.max_steps, settings.log_every))
    tensorboard = TensorBoardLogger(str(run_dir), name="", version="", default_hp_metric=False)
    trainer = make_trainer(
        settings,
        gradient_clip_val=config.optim.clip_norm or None,
        callbacks=callbacks,
        logger=[tensorboard, MetricsCsv(run_dir, resume_step)],
        default_root_dir=run_dir,
    )
    make_run_dir(run_dir, resuming=checkpoint is not None)
    if trainer.is_global_zero:
        write_config(config, run_dir)
        tensorboard.experiment.add_custom_scalars(custom_scalars(config))
    try:
        trainer.fit(module, datamodule, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    except SIGTERMException:  # a SystemExit with status 0
        print(f"seqboat: ended by SIGTERM: {_how_to_go_on(run_dir)}", file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt(_how_to_go_on(run_dir)) from None
    if results.validated_step != trainer.global_step:  # resumed when all was done already
        trainer.validate(module, datamodule, verbose=False)
    return results.write_summary(trainer, module) if trainer.is_global_zero else {}


def make_trainer(settings: TrainerConfig, **fields: Any) -> L.Trainer:
    """Lightning's trainer. Raises `ConfigError` if this machine lacks what the settings ask for."""
    started = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else settings.devices
    if started != settings.devices:
        problem = f"{settings.devices} is not possible here; torchrun started {started} processes, expected as many"
        raise ConfigError("trainer.devices", problem)
    cores = os.cpu_count() or 1
    on_cpu = settings.accelerator == "cpu" or not torch.cuda.is_available()
    if on_cpu and settings.devices > cores and is_first_process():
        warnings.warn(f"{settings.devices} processes share {cores} CPU cores: expect it to be slow", stacklevel=2)
    try:
        return L.Trainer(
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
            log_every_n_steps=settings.log_every,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **fields,
        )
    except MisconfigurationException as error:
        raise ConfigError("trainer.accelerator", f"{settings.accelerator} with {settings.devices} devices is not "
                          f"possible on this machine: {str(error).splitlines()[0]}") from None  # fmt: skip


class MovableCheckpoint(ModelCheckpoint):
    """Knows its scores also in a run whose directory was moved, or is called by another path."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(self.dirpath) / Path(path).name) if path else path

        paths = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        scores = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": scores, "dirpath": self.dirpath})


class LastStepValidates(Callback):
    """The last step is followed by a validation, and so by checkpoints, whatever `val_every` is."""

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates before it stops


class SigtermBetweenSteps(Callback):
    """With several processes, SIGTERM takes effect at the end of a step of the first one.

    Lightning's own handler broadcasts from wherever the signal came, which can meet another collective half way and
    wait for ever.
    """

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        def remember(*_: Any) -> None:
            trainer._signal_connector.received_sigterm = trainer.is_global_zero

        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, remember)


def _how_to_go_on(run_dir: Path) -> str:
    if (run_dir / "checkpoints" / "last.ckpt").is_file():
        return f"go on from the last checkpoint with: seqboat fit --resume {run_dir}"
    return f"there is no checkpoint yet to go on from; {run_dir} can be deleted"


def resume(run_dir: Path, overrides: Sequence[str] = ()) -> dict:
    """Continues the run in `run_dir` from its last checkpoint. Raises `ConfigError` as `resumable` does."""
    config, checkpoint = resumable(run_dir, overrides)
    os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    return fit(config, run_dir, checkpoint)


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
