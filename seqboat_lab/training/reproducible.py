"""Training that gives the same numbers with and without an interruption."""

import time
from typing import Any

import lightning as L
import numpy as np
import torch

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.checks import UserError
from seqboat_lab.data.loading.batch import Batch
from seqboat_lab.training.lightning_data import task_of


class DivergedError(UserError):
    """Training gave a loss that is not a finite number."""


MOST_UNSEEN = 100  # losses


def diverged(what: str, step: int) -> DivergedError:
    """The error of a run that can only waste time from here on."""
    return DivergedError(f"the {what} at step {step}; try a lower optim.lr or longer warm-up")


class BatchClock(L.LightningModule):
    """Base of our LightningModules: counts batches, and makes each one's randomness a function of its number.

    Dropout of share s of update u is seeded by (seed, u, s), and the DataModule starts at the batch that follows: a
    resumed run therefore draws what the uninterrupted one would have drawn, and one that accumulates its shares what
    one with a process for each would.
    """

    config: ExperimentConfig
    batches_seen = 0
    _losses: tuple[torch.Tensor, ...] = ()
    _tokens: torch.Tensor | int = 0
    _since = 0.0

    def on_train_start(self) -> None:
        self._tokens, self._since = 0, time.perf_counter()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        update, part = divmod(self.batches_seen, self.config.trainer.accumulate)
        share = part * self.config.trainer.devices + self.global_rank
        entropy = np.random.SeedSequence([self.config.seed, update, share])
        seed = int(entropy.generate_state(1, np.uint64)[0])
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # what torch.manual_seed does here beside much else
        else:
            torch.manual_seed(seed)

    def tick(self, tokens: torch.Tensor | int) -> None:
        """Count one batch of `tokens` real tokens; a scalar on the device is not waited for."""
        self.batches_seen += 1
        self._tokens = self._tokens + tokens

    def is_log_step(self) -> bool:
        """Does the batch just counted complete an update after which Lightning writes its logs?"""
        trainer = self.config.trainer
        update, rest = divmod(self.batches_seen, trainer.accumulate)
        return rest == 0 and update % trainer.log_every == 0

    def tokens_per_second(self) -> float:
        """Of this process since the last call or validation."""
        now = time.perf_counter()
        rate = int(self._tokens) / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        return rate

    def watch(self, loss: torch.Tensor) -> None:
        """Remember the loss of the batch just counted. The device is waited for only now and then, and at logged
        steps; at the latest then, or before a validation, the first one that is not finite ends the run."""
        self._losses = (*self._losses, loss.detach())
        if self.is_log_step() or len(self._losses) >= MOST_UNSEEN:
            self.refuse_divergence()

    def refuse_divergence(self) -> None:
        """Raises `DivergedError`, in all processes, if a loss since the last call was not finite in one of them."""
        if not self._losses:
            return
        losses, self._losses = torch.stack(self._losses).cpu(), ()
        bad = (~losses.isfinite()).nonzero()
        if self.trainer.strategy.reduce_boolean_decision(len(bad) > 0, all=False):
            first = int(bad[0]) if len(bad) else len(losses) - 1
            batch = self.batches_seen - len(losses) + first
            loss = f"{losses[first].item()}" if len(bad) else "not finite in another process"
            raise diverged(f"loss is {loss}", batch // self.config.trainer.accumulate + 1)

    def on_validation_start(self) -> None:
        self.refuse_divergence()

    def on_validation_end(self) -> None:
        if self.trainer.training:  # the rate is one of training
            self._tokens, self._since = 0, time.perf_counter()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises `DivergedError` rather than let weights that are not finite take the place of good ones."""
        self.refuse_divergence()
        for name, weight in self.named_parameters():
            if not weight.isfinite().all():
                raise diverged(f"weight {name} is not finite", self.trainer.global_step)
        checkpoint["batches_seen"] = self.batches_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_seen = checkpoint["batches_seen"]
        if (task := task_of(self.trainer)) is not None:
            task.start_batch = self.batches_seen


def real_tokens(batch: Batch) -> torch.Tensor | int:
    """Tokens of a batch that are not padding, counted where the batch is: a number would have to be waited for."""
    return batch.inputs.numel() if batch.padding_mask is None else (~batch.padding_mask).sum()
