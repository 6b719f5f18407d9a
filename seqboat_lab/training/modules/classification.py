"""LightningModule of sequence classification, single documents and pairs."""

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.data.loading.batch import Batch, TaskSpec
from seqboat_lab.training.metrics import activation_metric_names
from seqboat_lab.training.model import make_classifier
from seqboat_lab.training.modules.base import TrainingModule
from seqboat_lab.training.reproducible import real_tokens


class ClassificationModule(TrainingModule):
    """Cross-entropy training of a `Classifier`, with accuracy and activation statistics."""

    monitor = ("val/accuracy", "max")

    def __init__(self, config: ExperimentConfig, spec: TaskSpec):
        super().__init__(config, make_classifier(config, spec))
        self.val_accuracy = MulticlassAccuracy(spec.num_classes, average="micro")
        self.val_loss = MeanMetric()

    @staticmethod
    def metric_names(config: ExperimentConfig) -> list[str]:
        """What a validation reports."""
        activations = activation_metric_names(config.model.activating_layers)
        return [f"val/{name}" for name in ("accuracy", "loss", *activations)]

    def forward(self, batch: Batch):
        return self.model(batch.inputs, batch.padding_mask)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out = self(batch)
        loss = F.cross_entropy(out.logits, batch.labels)
        total = self.with_activation_cost(loss, out.activations, batch.padding_mask)
        self.tick(real_tokens(batch))
        self.watch(loss)
        if self.is_log_step():
            self.log_train(loss, out.activations, batch.padding_mask)
            correct = (out.logits.argmax(-1) == batch.labels).float().mean()
            self.log("train/accuracy", correct, prog_bar=True, sync_dist=True)
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self(batch)
        self.val_accuracy.update(out.logits, batch.labels)
        self.val_loss.update(F.cross_entropy(out.logits, batch.labels), len(batch.labels))
        self.update_activations(batch.inputs, out.activations, batch.padding_mask)

    def on_validation_epoch_end(self) -> None:
        values = {"accuracy": self.val_accuracy.compute(), "loss": self.val_loss.compute()}
        self.log_validation(values, self.val_accuracy, self.val_loss)
