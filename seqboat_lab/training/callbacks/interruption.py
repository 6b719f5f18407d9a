"""Runs that are asked to end, and do so with a checkpoint of the step they are at."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from seqboat_lab.training.checkpoints import VALIDATION_DUE
from seqboat_lab.training.reproducible import BatchClock

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What asks a run to end: schedulers and service managers, Ctrl-C, and Slurm before a time limit (`--signal=USR1@120`).
"""
SAVE = 1  # no number of these signals


class Interrupted(BaseException):
    """The run ended on a signal; what it did is saved. No `Exception`: nothing in between may take it for a mistake."""

    def __init__(self, number: int):
        self.number = signal.Signals(number)
        super().__init__(self.number.name)


class Interruptible(Callback):
    """On a signal, saves at the end of the update under way (or in the middle of a validation, which the resumed run
    then repeats) and raises `Interrupted`, in all processes at the same step. Also saves every `minutes`."""

    def __init__(self, path: Path, accumulate: int, minutes: float | None = None):
        self.path, self.accumulate, self.minutes = path, accumulate, minutes
        self.asked, self.process = 0, os.getpid()
        self.validation_due = False
        self.saved_step = -1
        self.shared_batches = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signals over; what was there before comes back. Workers of data loaders inherit it."""
        if threading.current_thread() is not threading.main_thread():  # where Python cannot
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            self._listen()
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked == number == signal.SIGINT and os.getpid() == self.process:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        self.asked = number

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._listen()  # Lightning has put a handler of its own over ours
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
        # the update before is through: logged and, if that was due, validated
        if cast(BatchClock, module).batches_seen % self.accumulate == 0:
            self._save_if_asked(trainer)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()  # by it a resumed run knows: all or nothing
        self.shared_batches = -_most(trainer, -int(trainer.num_val_batches[0]))  # ranks may differ by one
        self._end_if_asked(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
        batch_idx = args[2]
        if trainer.state.fn == "fit" and batch_idx < self.shared_batches:
            self._end_if_asked(trainer)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()  # by the checkpoint that follows

    def _end_if_asked(self, trainer: L.Trainer) -> None:
        """In a validation."""
        number = _most(trainer, self.asked)
        if number:
            self.validation_due = True
            trainer.save_checkpoint(self.path, weights_only=False)
            raise Interrupted(number)

    def _save_if_asked(self, trainer: L.Trainer) -> None:
        due = self.minutes is not None and time.monotonic() - self.saved_at >= 60 * self.minutes
        what = _most(trainer, self.asked or (SAVE if due and trainer.is_global_zero else 0))
        if not what:
            return
        if self.saved_step != trainer.global_step:
            trainer.save_checkpoint(self.path, weights_only=False)
            self.saved_step = trainer.global_step
        self.saved_at = time.monotonic()
        if what != SAVE:
            raise Interrupted(what)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Counts as done what is done, and no more, so that Lightning resumes between two batches."""
        loops = checkpoint["loops"]["fit_loop"]
        for counts in (loops["epoch_loop.batch_progress"][which] for which in ("total", "current")):
            counts["ready"] = counts["completed"]
        checkpoint[VALIDATION_DUE] = self.validation_due
        if self.validation_due:  # one batch begun and none done: Lightning repeats such a validation
            progress = loops["epoch_loop.val_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}


class LastStepValidates(Callback):
    """The last step is followed by a validation, and so by checkpoints, whatever `val_every` is."""

    def __init__(self, max_steps: int):
        self.max_steps = max_steps

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step >= self.max_steps:
            trainer.should_stop = True  # Lightning validates before it stops

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step >= self.max_steps:  # a resumed run whose last validation was still due
            trainer.should_stop = True


def _most(trainer: L.Trainer, number: int) -> int:
    """The largest of the numbers of all processes."""
    if trainer.world_size == 1:
        return number
    numbers = torch.tensor(number, device=trainer.strategy.root_device)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)
