"""What the LightningModules of all heads have in common: the optimiser, and what is logged."""

import math
from typing import Any, ClassVar, cast

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.files import to_dict
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.loading.batch import Batch
from seqboat_lab.nn import SeqBoat
from seqboat_lab.training.activation_cost import layer_weights, price, probability_of_activation
from seqboat_lab.training.lightning_data import task_of
from seqboat_lab.training.metrics import ActivationMetrics, ClassRates, activation_rates
from seqboat_lab.training.optim import make_optimizer
from seqboat_lab.training.reproducible import BatchClock, diverged


class TrainingModule(BatchClock):
    """Trains `model`, whose outputs are `ModelOutput`s; a head adds its loss and its metrics."""

    monitor: ClassVar[tuple[str, str]]
    """The metric that tells the best checkpoint, and whether `max` or `min` is best."""

    def __init__(self, config: ExperimentConfig, model: nn.Module):
        super().__init__()
        self.config, self.model = config, model
        self.save_hyperparameters({"config": to_dict(config)}, logger=False)
        self.data: TaskDataModule | None = None  # known once there is a trainer; it tells the kinds of token apart
        self.val_activation = ActivationMetrics(config.model)
        self.val_classes = ClassRates(config.model.activating_layers)
        self.cost_weights = layer_weights(config.model, config.optim.activation_cost_per)

    def with_activation_cost(self, loss: Tensor, activations: list, padding_mask: Tensor | None) -> Tensor:
        """The loss plus the price of the activations (`optim.activation_cost`), before the batch is counted."""
        trainer = self.config.trainer
        asked = price(self.config.optim, self.batches_seen // trainer.accumulate / trainer.max_steps)
        if not asked:
            return loss
        probability = probability_of_activation(activations, padding_mask, self.cost_weights)
        return loss if probability is None else loss + asked * probability

    def log_train(self, loss: Tensor, activations: list, padding_mask: Tensor | None) -> None:
        """Loss, learning rate, tokens/s; per layer activation rate and temperature."""
        self.log("step", float(self.trainer.global_step + 1))  # Lightning's place for it: the update under way
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=True)
        if activations:
            self.log_activations(activations, padding_mask)
        self.log("lr", cast(LRScheduler, self.lr_schedulers()).get_last_lr()[0])
        self.log("tokens_per_second", self.tokens_per_second(), prog_bar=True, sync_dist=True, reduce_fx="sum")

    def log_activations(self, activations: list, padding_mask: Tensor | None) -> None:
        rates, _ = activation_rates(activations, padding_mask)
        values = {f"train/activation_rate/layer_{i}": rate for i, rate in enumerate(rates)}
        layers = cast(SeqBoat, self.model.encoder).layers
        for i, number in enumerate(self.config.model.deciding):
            temperature: Any = getattr(getattr(layers[number], "configurator", None), "temperature", None)
            if temperature is not None:
                values[f"temperature/layer_{i}"] = temperature().detach()
        self.log_dict(values, sync_dist=True)
        self.log("train/activation_rate", rates.mean(), prog_bar=True, sync_dist=True)

    def setup(self, stage: str) -> None:
        self.data = task_of(self.trainer)

    def update_activations(
        self,
        inputs: Tensor,
        activations: list,
        left_out: Tensor | None,
        reach: list[tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        """Counts a validation batch's activations, in all and by class of token, but for those `left_out` (B, L); their
        `reach` as `ActivationMetrics` wants it."""
        self.val_activation.update(activations, left_out, reach)
        if self.data and self.data.token_classes:
            self.val_classes.update(activations, self.data.token_class(inputs), left_out)

    def log_validation(self, values: dict[str, Tensor], *used: Metric) -> None:
        """The head's values and those of the activations as `val/...`; `used` metrics start anew. Raises
        `DivergedError` if training has led to a loss that is not finite."""
        if not self.trainer.testing:
            if not math.isfinite(values["loss"]):
                raise diverged(f"validation loss is {float(values['loss'])}", self.trainer.global_step)
            self.log("step", float(self.trainer.global_step))
        values |= self.val_activation.compute()
        if self.data and self.data.token_classes:
            values |= self.val_classes.compute(self.data.token_classes)
        for metric in (*used, self.val_activation, self.val_classes):
            metric.reset()
        self.log_dict({f"val/{name}": value for name, value in values.items()})

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By norm. Lightning's own refuses fused optimisers in mixed precision, since some scale their loss; bfloat16
        needs no scale."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer, schedule = make_optimizer(self.model, self.config.optim, self.config.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
