"""LightningModule of byte-level language modelling."""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.data import LanguageConfig
from seqboat_lab.data.loading.batch import IGNORED, Batch, TaskSpec
from seqboat_lab.nn import LanguageModel
from seqboat_lab.nn.layer import LayerState
from seqboat_lab.nn.models import ModelOutput
from seqboat_lab.training.callbacks.bits_by_position import BitsByPositionPicture
from seqboat_lab.training.metrics import BitsByPosition, activation_metric_names
from seqboat_lab.training.modules.base import TrainingModule
from seqboat_lab.training.modules.carried_state import CarriedState


class LanguageModelModule(TrainingModule):
    """Cross-entropy training of a `LanguageModel`, in nats; validated in bits per byte."""

    monitor = ("val/bpc", "min")

    model: LanguageModel

    def __init__(self, config: ExperimentConfig, spec: TaskSpec):
        assert spec.vocab_size is not None  # text has ids
        super().__init__(config, LanguageModel(config.model, spec.vocab_size))
        data = cast(LanguageConfig, config.data)
        self.val_bits = BitsByPosition(data.tokens_per_sample)
        self.carried = CarriedState(data.batch_size) if data.carry_state else None
        self.bpc_by_position: Tensor | None = None

    @staticmethod
    def metric_names(config: ExperimentConfig) -> list[str]:
        """What a validation reports (and bits per byte by position in the block, as far as blocks reach)."""
        return [f"val/{name}" for name in ("bpc", "loss", *activation_metric_names(config.model.activating_layers))]

    def configure_callbacks(self) -> list[Callback]:
        return [BitsByPositionPicture()]

    def forward(self, batch: Batch, state: list[LayerState] | None = None) -> ModelOutput:
        return self.model(batch.inputs, state)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out = self._forward_carrying(batch)
        loss = nats(out.logits, batch.labels).mean()  # every position of a training batch is scored
        total = self.with_activation_cost(loss, out.activations, None)
        self.tick(batch.inputs.numel())
        self.watch(loss)
        if self.is_log_step():
            self.log_train(loss, out.activations, None)
            self.log("train/bpc", loss.detach() / math.log(2), prog_bar=True, sync_dist=True)
        return total

    def _forward_carrying(self, batch: Batch) -> ModelOutput:
        """With `carry_state`, from where the batch's rows stood; another part of the rows in each accumulated batch."""
        if self.carried is None:
            return self(batch)
        part, rows = self.batches_seen % self.config.trainer.accumulate, len(batch.inputs)
        state = None if batch.fresh else self.carried.get(part, rows, self.model)
        out = self(batch, self.model.init_state(rows) if state is None else state)
        self.carried.put(part, out.state)
        return out

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self(batch)
        self.val_bits.update(nats(out.logits, batch.labels), batch.labels != IGNORED)
        self.update_activations(batch.inputs, out.activations, batch.labels == IGNORED)

    def on_validation_epoch_end(self) -> None:
        bpc, self.bpc_by_position, ranges = self.val_bits.compute()
        values = {"bpc": bpc, "loss": bpc * math.log(2)}
        self.log_validation(values | {f"bpc_after/{n}": value for n, value in ranges.items()}, self.val_bits)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.carried is not None:
            checkpoint["carried_state"] = self.carried.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.carried is not None:
            self.carried.load_state_dict(checkpoint.get("carried_state", []))


def nats(logits: Tensor, labels: Tensor) -> Tensor:
    """-ln p(label), (B, L) float32 (or float64), 0 where the label is `IGNORED`."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(logits.mT, labels, reduction="none", ignore_index=IGNORED)
