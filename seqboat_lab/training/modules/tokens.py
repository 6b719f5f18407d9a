"""LightningModule of tasks that ask for an answer at some of the tokens, each from the tokens up to it."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.data.loading.batch import IGNORED, Batch, TaskSpec
from seqboat_lab.nn.layer import LayerState
from seqboat_lab.training.activation_cost import mean_over_ranks
from seqboat_lab.training.metrics import Reach, activation_metric_names
from seqboat_lab.training.model import make_language_model
from seqboat_lab.training.modules.carried_state import CarryingModule
from seqboat_lab.training.modules.language_modelling import nats


class TokenModule(CarryingModule):
    """Cross-entropy training of a `LanguageModel` whose logits answer at the scored positions alone."""

    monitor = ("val/accuracy", "max")

    def __init__(self, config: ExperimentConfig, spec: TaskSpec):
        super().__init__(config, make_language_model(config, spec))
        self.val_answers = Answers()
        self.val_state: list[LayerState] | None = None
        self.val_reach: Reach | None = None

    @staticmethod
    def metric_names(config: ExperimentConfig) -> list[str]:
        """What a validation reports."""
        activations = activation_metric_names(config.model.activating_layers)
        return [f"val/{name}" for name in ("accuracy", "loss", *activations)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out = self.forward_carrying(batch)
        scored = batch.labels != IGNORED
        answers = mean_over_ranks(scored.sum())
        loss = nats(out.logits, batch.labels).sum() / torch.where(answers > 0, answers, 1)  # a segment may ask nothing
        total = self.with_activation_cost(loss, out.activations, batch.padding_mask)
        self.tick(batch.inputs.numel())
        self.watch(loss)
        if self.is_log_step():
            self.log_train(loss, out.activations, batch.padding_mask)
            correct = (out.logits.argmax(-1) == batch.labels).sum() / scored.sum().clamp(min=1)
            self.log("train/accuracy", correct, prog_bar=True, sync_dist=True)
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        reach: list[tuple[Tensor, Tensor]] | None = None
        if self.carried is None:
            out = self(batch)
        else:
            if batch.fresh or self.val_reach is None:
                self.val_state = self.model.init_state(len(batch.inputs))
                self.val_reach = Reach(self.val_activation.memory_sizes)
            out = self(batch, self.val_state)
            self.val_state, reach = out.state, self.val_reach(out.activations)
        self.val_answers.update(out.logits, batch.labels)
        self.update_activations(batch.inputs, out.activations, batch.padding_mask, reach)

    def on_validation_epoch_end(self) -> None:
        self.log_validation(self.val_answers.compute(), self.val_answers)


class Answers(Metric):
    """Accuracy and cross-entropy (nats) over the scored positions, exact for any batches and processes."""

    full_state_update = False
    correct: Tensor
    nats: Tensor
    scored: Tensor

    def __init__(self):
        super().__init__()
        for name in ("correct", "nats", "scored"):  # float64 counts exactly
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """logits (B, L, ids), labels (B, L) with `IGNORED`."""
        self.correct += (logits.argmax(-1) == labels).sum()
        self.nats += nats(logits, labels).double().sum()
        self.scored += (labels != IGNORED).sum()

    def compute(self) -> dict[str, Any]:
        return {"accuracy": (self.correct / self.scored).float(), "loss": (self.nats / self.scored).float()}
