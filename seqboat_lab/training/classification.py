"""LightningModule of sequence classification, single documents and pairs."""

from typing import Any

import lightning as L
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.files import to_dict
from seqboat_lab.data.base import Batch, TaskSpec
from seqboat_lab.nn import Classifier
from seqboat_lab.training.metrics import ActivationMetrics, activation_metric_names, activation_rates
from seqboat_lab.training.optim import make_optimizer
from seqboat_lab.training.reproducible import BatchClock, real_tokens


class ClassificationModule(BatchClock, L.LightningModule):
    """Cross-entropy training of a `Classifier`, with accuracy and activation statistics."""

    monitor = ("val/accuracy", "max")

    def __init__(self, config: ExperimentConfig, spec: TaskSpec):
        super().__init__()
        self.config = config
        self.save_hyperparameters({"config": to_dict(config)}, logger=False)
        self.model = Classifier(config.model, spec.num_classes, spec.vocab_size, pair=spec.head == "pair")
        if config.trainer.compile:
            self.model.compile()
        self.val_accuracy = MulticlassAccuracy(spec.num_classes, average="micro")
        self.val_loss = MeanMetric()
        self.val_activation = ActivationMetrics(config.model)

    @staticmethod
    def metric_names(config: ExperimentConfig) -> list[str]:
        """What a validation reports."""
        return [f"val/{name}" for name in ("accuracy", "loss", *activation_metric_names(config.model.layers))]

    def forward(self, batch: Batch):
        return self.model(batch.inputs, batch.padding_mask)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out = self(batch)
        loss = F.cross_entropy(out.logits, batch.labels)
        self.tick(real_tokens(batch))
        if self.is_log_step():
            self.refuse_divergence(loss)
            self.log_train(loss, out.activations, batch.padding_mask)
            correct = (out.logits.argmax(-1) == batch.labels).float().mean()
            self.log("train/accuracy", correct, prog_bar=True, sync_dist=True)
        return loss

    def log_train(self, loss: Tensor, activations: list, padding_mask: Tensor | None) -> None:
        """Loss, learning rate, tokens/s; per layer activation rate and temperature."""
        rates, _ = activation_rates(activations, padding_mask)
        values = {f"train/activation_rate/layer_{i}": rate for i, rate in enumerate(rates)}
        for i, layer in enumerate(self.model.encoder.layers):
            if hasattr(layer.configurator, "temperature"):
                values[f"temperature/layer_{i}"] = layer.configurator.temperature().detach()
        self.log_dict(values, sync_dist=True)
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=True)
        self.log("train/activation_rate", rates.mean(), prog_bar=True, sync_dist=True)
        self.log("lr", self.lr_schedulers().get_last_lr()[0])
        self.log("tokens_per_second", self.tokens_per_second(), prog_bar=True, sync_dist=True, reduce_fx="sum")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self(batch)
        self.val_accuracy.update(out.logits, batch.labels)
        self.val_loss.update(F.cross_entropy(out.logits, batch.labels), len(batch.labels))
        self.val_activation.update(out.activations, batch.padding_mask)

    def on_validation_epoch_end(self) -> None:
        values = {"accuracy": self.val_accuracy.compute(), "loss": self.val_loss.compute()}
        values |= self.val_activation.compute()
        for metric in (self.val_accuracy, self.val_loss, self.val_activation):
            metric.reset()
        self.log_dict({f"val/{name}": value for name, value in values.items()})

    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer, schedule = make_optimizer(self.model, self.config.optim, self.config.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
