"""One run from one config: builds data, model and trainer, trains, and leaves the run directory."""

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seqboat_lab.atomic import to_json
from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.config.experiment import TrainerConfig
from seqboat_lab.config.files import to_dict
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.training.callbacks.activations import ActivationPictures
from seqboat_lab.training.callbacks.decision_record import DecisionRecord
from seqboat_lab.training.callbacks.interruption import Interrupted, Interruptible, LastStepValidates
from seqboat_lab.training.callbacks.progress import ProgressReport
from seqboat_lab.training.callbacks.together import Together
from seqboat_lab.training.checkpoints import (
    LAST,
    BestCheckpoint,
    Checkpoint,
    MovableCheckpoint,
    SafeCheckpointIO,
    has_checkpoint,
    set_checkpoints_aside,
)
from seqboat_lab.training.files import run_files, told_once
from seqboat_lab.training.launch import (
    cores,
    is_first_process,
    placement,
    processes_here,
    started_by_lightning,
    threads_per_process,
)
from seqboat_lab.training.lightning_data import LightningData
from seqboat_lab.training.loggers import begin, make_loggers
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.modules.base import TrainingModule
from seqboat_lab.training.modules.classification import ClassificationModule
from seqboat_lab.training.modules.language_modelling import LanguageModelModule
from seqboat_lab.training.modules.tokens import TokenModule
from seqboat_lab.training.results import ResultFiles, cost_metric_names, read_summary, write_config
from seqboat_lab.training.run_directory import RUN_DIR_VARIABLE, check_same_run, occupied, resumable
from seqboat_lab.training.trackers import tracked_to_its_end

MODULES: dict[str, type[ClassificationModule] | type[LanguageModelModule] | type[TokenModule]] = {
    "classifier": ClassificationModule,
    "pair": ClassificationModule,
    "language_model": LanguageModelModule,
    "tokens": TokenModule,
}
"""The LightningModule of each kind of head."""


def make_module(config: ExperimentConfig, datamodule: TaskDataModule) -> TrainingModule:
    """The task's LightningModule, initialised from the experiment's seed."""
    return MODULES[datamodule.head](config, datamodule.spec)


def metric_names(config: ExperimentConfig) -> list[str]:
    """Every metric a run of this experiment reports at each validation: what a sweep may optimise."""
    datamodule = make_datamodule(config)
    return [*MODULES[datamodule.head].metric_names(config), *cost_metric_names(config.model)]


def fit(
    config: ExperimentConfig, run_dir: Path, checkpoint: Checkpoint | None = None, extra: Sequence[Callback] = ()
) -> dict:
    """Trains, and returns what `summary.json` holds.

    Args:
        run_dir: gets config.yaml, TensorBoard events, metrics.csv, validations.jsonl, decisions.jsonl, checkpoints/,
            summary.json.
        checkpoint: resume from here, with the same numbers as without the interruption.
        extra: further Lightning callbacks.

    On SIGTERM or SIGUSR1 it saves and raises `SystemExit` with the status 128 + the signal's number, on Ctrl-C
    `KeyboardInterrupt`. Raises a one-line `UserError` if the operating system refuses to write (a full disk).
    """
    quiet()
    settings = config.trainer
    torch.set_num_threads(threads_per_process(settings))
    datamodule = make_datamodule(config)
    module = make_module(config, datamodule)
    datamodule.prepare_data()  # before anything is written: missing data, or too little, must leave no run behind
    datamodule.setup()
    datamodule.training_loader(0, settings.devices)
    datamodule.evaluation_loader("val", 0, settings.devices)
    data = LightningData(datamodule)
    results = ResultFiles(config, run_dir)
    name, mode = module.monitor
    checkpoints = run_dir / "checkpoints"
    best = BestCheckpoint(checkpoints, filename="best", monitor=name, mode=mode, enable_version_counter=False)
    # one of its own: with `save_last`, Lightning writes last.ckpt only when there is a new best
    last = MovableCheckpoint(checkpoints, filename="last", enable_version_counter=False)
    interruptible = Interruptible(checkpoints / LAST, settings.accumulate, settings.checkpoint_minutes)
    record = DecisionRecord(run_dir)
    pictures = ActivationPictures(record)
    begins_at = -1 if checkpoint is None else checkpoint.step
    together = Together(_what_it_trains(config), begins_at, partial(_how_to_go_on, run_dir))
    callbacks = [together, LastStepValidates(settings.max_steps), interruptible, results, best, last, pictures, *extra]
    if settings.progress:
        callbacks.append(ProgressReport(settings.max_steps, settings.log_every))
    loggers = make_loggers(config, run_dir, checkpoint)
    trainer = make_trainer(
        settings,
        only_validate=checkpoint is not None and checkpoint.validation_due and checkpoint.step >= settings.max_steps,
        gradient_clip_val=config.optim.clip_norm or None,
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=run_dir,
    )
    place = occupied(run_dir, resuming=checkpoint is not None)
    with place, run_files(run_dir), told_once(), tracked_to_its_end(loggers):
        if trainer.is_global_zero:
            write_config(config, run_dir)
            if checkpoint is not None:
                results.go_on_from(checkpoint)
                record.go_on_from(checkpoint)
            begin(loggers, config, run_dir, datamodule.token_classes)
        with _all_or_none(together):
            with interruptible.listening(), _ends_as_asked(run_dir):
                path = None if checkpoint is None else checkpoint.path
                trainer.fit(module, data, ckpt_path=path, weights_only=True if checkpoint else None)
            if trainer.strategy.broadcast(results.validated_step) != trainer.global_step:  # resumed when all was done
                trainer.validate(module, data, verbose=False)
        return results.write_summary(trainer, module) if trainer.is_global_zero else {}


def make_trainer(settings: TrainerConfig, only_validate: bool = False, **fields: Any) -> L.Trainer:
    """Lightning's trainer.

    only_validate: of a resumed run, the last step was trained, but not validated.

    Raises `ConfigError` if this machine, or a launcher, lacks what the settings ask for.
    """
    placed = placement(settings)
    here = processes_here(settings)
    on_cpu = settings.accelerator == "cpu" or not torch.cuda.is_available()
    if on_cpu and here > cores() and is_first_process():
        warnings.warn(f"{here} processes share {cores()} CPU cores: expect it to be slow", stacklevel=2)
    plugins = [SafeCheckpointIO(), *placed.pop("plugins")]
    try:
        return L.Trainer(
            accelerator=settings.accelerator,
            precision=settings.precision,
            max_steps=settings.max_steps + only_validate,  # a run at its end would not be asked for a validation
            val_check_interval=1 if only_validate else settings.val_every * settings.accumulate,
            check_val_every_n_epoch=None,
            limit_val_batches=settings.val_batches,
            num_sanity_val_steps=0,
            accumulate_grad_batches=settings.accumulate,
            log_every_n_steps=settings.log_every,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=plugins,
            **placed,
            **fields,
        )
    except MisconfigurationException as error:
        raise ConfigError("trainer.accelerator", f"{settings.accelerator} with {settings.devices} devices is not "
                          f"possible on this machine: {str(error).splitlines()[0]}") from None  # fmt: skip


def _what_it_trains(config: ExperimentConfig) -> str:
    """The experiment without what may differ between nodes."""
    values = to_dict(config)
    for section, local in {"data": ("root", "num_workers"), "trainer": ("threads", "progress", "loggers")}.items():
        values[section] = {name: value for name, value in values[section].items() if name not in local}
    return to_json(values)


@contextmanager
def _all_or_none(together: Together) -> Iterator[None]:
    """What the loss of another process makes of an error, and what all of them agree to end with."""
    together.begin()
    try:
        yield
    except RuntimeError as error:
        if (lost := together.lost(error)) is not None:
            raise lost from None
        raise
    except (SystemExit, KeyboardInterrupt):  # of a signal, by which all end at the same step
        together.end()
        raise
    else:
        together.end()
    finally:
        together.ended.set()


@contextmanager
def _ends_as_asked(run_dir: Path) -> Iterator[None]:
    """Turns a signal's end into the exit status that shells and schedulers know."""
    try:
        yield
    except Interrupted as interrupt:
        if started_by_lightning():  # the first process tells; another status would let Lightning kill it first
            raise SystemExit(0) from None
        if interrupt.number == signal.SIGINT:
            raise KeyboardInterrupt(_how_to_go_on(run_dir)) from None
        print(f"seqboat: ended by {interrupt}: {_how_to_go_on(run_dir)}", file=sys.stderr)
        raise SystemExit(128 + interrupt.number) from None
    except SystemExit:  # Lightning's answer to a KeyboardInterrupt
        raise KeyboardInterrupt(_how_to_go_on(run_dir)) from None


def _how_to_go_on(run_dir: Path) -> str:
    if has_checkpoint(run_dir):
        return f"go on from the last checkpoint with: seqboat fit --resume {run_dir}"
    return f"there is no checkpoint yet to go on from; start it again, or delete {run_dir}"


def resume(run_dir: Path, overrides: Sequence[str] = ()) -> dict:
    """Continues the run in `run_dir` from its last checkpoint. Raises `ConfigError` as `resumable` does."""
    config, checkpoint = resumable(run_dir, overrides)
    os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    return fit(config, run_dir, checkpoint)


def resume_or_start(config: ExperimentConfig, run_dir: Path) -> dict:
    """What a scheduler may call again and again: the summary if this run has ended, else it goes on, or starts; it
    starts anew, too, where no checkpoint can be read, which is said and leaves them in `checkpoints-unreadable/`.

    Raises `ConfigError` as `resumable` does, as of another run in this directory.
    """
    if not has_checkpoint(run_dir):
        return fit(config, run_dir)
    check_same_run(run_dir, config)
    with suppress(ConfigError):  # no summary: not at its end
        if read_summary(run_dir)["steps"] >= config.trainer.max_steps:
            return read_summary(run_dir)
    try:
        Checkpoint.newest(run_dir)
    except ConfigError as error:
        if is_first_process():
            with run_files(run_dir):
                aside = set_checkpoints_aside(run_dir)
            print(f"warning: {error}; it is kept in {aside}, and the run starts anew", file=sys.stderr)
        return fit(config, run_dir)
    config, checkpoint = resumable(run_dir, config)
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
        ".*`srun` command is available.*",  # on any login node; the launcher is checked when a run starts
        ".*sync_dist=True.*",  # our metrics are torchmetrics: they are already summed over the ranks
    ):
        warnings.filterwarnings("ignore", message=about)
