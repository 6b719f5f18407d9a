"""What a run shows in TensorBoard besides curves: activation rasters, and a page that puts curves together."""

import re
from typing import Any, cast

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.data import LanguageConfig
from seqboat_lab.data.loading.batch import Batch
from seqboat_lab.nn.models import ModelOutput


def custom_scalars(config: ExperimentConfig) -> dict[str, dict[str, list[Any]]]:
    """TensorBoard's Custom Scalars page: one chart per question, all layers in one chart."""

    def layers(prefix: str) -> list[str]:
        return [f"{prefix}/layer_{i}" for i in range(config.model.activating_layers)]

    of_text = isinstance(config.data, LanguageConfig)
    quality = ("bits per byte", "bpc") if of_text else ("accuracy", "accuracy")
    charts = {  # training and validation apart: they average over other samples, with and without dropout
        "loss (training)": ["train/loss"],
        "loss (validation)": ["val/loss"],
        f"{quality[0]} (training)": [f"train/{quality[1]}"],
        f"{quality[0]} (validation)": [f"val/{quality[1]}"],
        "activation rate (validation)": ["val/activation_rate", *layers("val/activation_rate")],
        "activation rate (training)": layers("train/activation_rate"),
        "temperature": layers("temperature"),
        "mean attention span, in original positions": layers("val/span"),
        "working-memory fill": layers("val/memory_fill"),
        "learning rate": ["lr"],
        "tokens per second": ["tokens_per_second"],
    }
    shown = {title: [f"^{re.escape(tag)}$" for tag in tags] for title, tags in charts.items() if tags}  # patterns
    return {"SeqBoat": {title: ["Multiline", patterns] for title, patterns in shown.items()}}


def activation_raster(confidence: list[np.ndarray], lengths: np.ndarray, title: str = "") -> Figure:
    """Which tokens each layer activates.

    Args:
        confidence: per layer (B, L), 0 where inactive.
        lengths: (B,) real tokens of each sample.

    Returns:
        One strip per sample, layers from bottom (first) to top, tokens from left to right; darker is more
        confident, white is inactive, grey is padding.
    """
    samples, length = confidence[0].shape
    figure, axes = plt.subplots(samples, 1, figsize=(7, 0.9 + 1.1 * samples), sharex=True, squeeze=False)
    grid = np.stack(confidence)  # (layers, B, L)
    for i, axis in enumerate(axes[:, 0]):
        strip = np.ma.masked_array(grid[:, i], np.broadcast_to(np.arange(length) >= lengths[i], grid[:, i].shape))
        colours = plt.colormaps["Blues"].with_extremes(bad="0.9")
        axis.imshow(strip, aspect="auto", origin="lower", cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axis.set_yticks(range(len(grid)), [str(n) for n in range(len(grid))], fontsize=11)
        axis.set_ylabel("layer", fontsize=11)
        rate = strip.astype(bool).mean()
        axis.text(1.005, 0.5, f"{rate:.0%}", transform=axis.transAxes, fontsize=11, va="center")
    axes[-1, 0].set_xlabel("token (darker: more confident; white: inactive; right: active share)", fontsize=11)
    figure.suptitle(title, fontsize=12)
    figure.tight_layout()
    return figure


LONGEST = 1024  # tokens across a raster; more could not be told apart


class ActivationRaster(Callback):
    """After each validation, a raster of the same few samples (of the first validation's longest batch that still
    fits a picture), as a TensorBoard image."""

    def __init__(self, samples: int = 3):
        self.samples = samples
        self.batch: Batch | None = None
        self.chosen = False

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int, *args
    ) -> None:
        if self.chosen or not trainer.is_global_zero or batch.inputs.shape[1] > LONGEST:
            return
        if self.batch is None or batch.inputs.shape[1] > self.batch.inputs.shape[1]:
            self.batch = batch  # whole: half of a pair could not be run

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.batch is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        self.chosen = True
        with torch.no_grad():
            encoder_output: ModelOutput = module(self.batch)
        if not encoder_output.activations:
            return
        confidence = [a.confidence[: self.samples].float().cpu().numpy() for a in encoder_output.activations]
        mask = None if self.batch.padding_mask is None else self.batch.padding_mask[: self.samples]
        shape = confidence[0].shape
        lengths = np.full(shape[0], shape[1]) if mask is None else (~mask).sum(1).cpu().numpy()
        figure = activation_raster(confidence, lengths, f"active tokens after {trainer.global_step} updates")
        for logger in trainer.loggers:
            board = cast(Any, logger).experiment  # all of Lightning's have one, though their base class has none
            if hasattr(board, "add_figure"):
                board.add_figure("activation raster", figure, trainer.global_step)
        plt.close(figure)
