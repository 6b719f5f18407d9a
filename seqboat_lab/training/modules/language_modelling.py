"""LightningModule of byte-level language modelling."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.data import LanguageConfig
from seqboat_lab.data.loading.batch import IGNORED, Batch, TaskSpec
from seqboat_lab.training.callbacks.bits_by_position import BitsByPositionPicture
from seqboat_lab.training.metrics import BitsByPosition, activation_metric_names
from seqboat_lab.training.model import make_language_model
from seqboat_lab.training.modules.carried_state import CarryingModule


class LanguageModelModule(CarryingModule):
    """Cross-entropy training of a `LanguageModel`, in nats; validated in bits per byte."""

    monitor = ("val/bpc", "min")

    def __init__(self, config: ExperimentConfig, spec: TaskSpec):
        super().__init__(config, make_language_model(config, spec))
        self.val_bits = BitsByPosition(cast(LanguageConfig, config.data).tokens_per_sample)
        self.bpc_by_position: Tensor | None = None

    @staticmethod
    def metric_names(config: ExperimentConfig) -> list[str]:
        """What a validation reports (and bits per byte by position in the block, as far as blocks reach)."""
        return [f"val/{name}" for name in ("bpc", "loss", *activation_metric_names(config.model.activating_layers))]

    def configure_callbacks(self) -> list[Callback]:
        return [BitsByPositionPicture()]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out = self.forward_carrying(batch)
        loss = nats(out.logits, batch.labels).mean()  # every position of a training batch is scored
        total = self.with_activation_cost(loss, out.activations, None)
        self.tick(batch.inputs.numel())
        self.watch(loss)
        if self.is_log_step():
            self.log_train(loss, out.activations, None)
            self.log("train/bpc", loss.detach() / math.log(2), prog_bar=True, sync_dist=True)
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self(batch)
        self.val_bits.update(nats(out.logits, batch.labels), batch.labels != IGNORED)
        self.update_activations(batch.inputs, out.activations, batch.labels == IGNORED)

    def on_validation_epoch_end(self) -> None:
        bpc, self.bpc_by_position, ranges = self.val_bits.compute()
        values = {"bpc": bpc, "loss": bpc * math.log(2)}
        self.log_validation(values | {f"bpc_after/{n}": value for n, value in ranges.items()}, self.val_bits)


def nats(logits: Tensor, labels: Tensor) -> Tensor:
    """-ln p(label), (B, L) float32 (or float64), 0 where the label is `IGNORED`."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(logits.mT, labels, reduction="none", ignore_index=IGNORED)
