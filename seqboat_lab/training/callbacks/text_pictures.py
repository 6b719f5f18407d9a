"""What a run on text shows in TensorBoard: which bytes are activated, bits per byte by position, attention spans."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from seqboat_lab.data.loading.batch import Batch
from seqboat_lab.nn.models import ModelOutput
from seqboat_lab.nn.packing import attention_span

COLUMNS, CELL, MARGIN = 100, (8, 16), 8  # characters a line; pixels of a character; pixels around
LONGEST = 1500  # bytes in a picture of text
WHITE, BLUE = np.array([255, 255, 255]), np.array([90, 160, 230])


def text_raster(text: bytes, confidence: Sequence[np.ndarray]) -> np.ndarray:
    """The text once per layer, the bytes it activates in blue, darker where it is more confident.

    confidence: per layer (len(text),), 0 where inactive. Returns an RGB image (height, width, 3) uint8.
    """
    cells, row, column = [], 0, 0
    for byte in text:
        if column == COLUMNS:
            row, column = row + 1, 0
        cells.append((row, column))
        row, column = (row + 1, 0) if byte == ord("\n") else (row, column + 1)
    (wide, high), lines = CELL, row + 1
    panel = (lines + 2) * high  # a title above, a free line below
    image = Image.new("RGB", (COLUMNS * wide + 2 * MARGIN, panel * len(confidence) + 2 * MARGIN), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(findfont("DejaVu Sans Mono"), 13)
    for layer, weights in enumerate(confidence):
        top = MARGIN + layer * panel
        title = f"layer {layer}: {np.mean(weights > 0):.0%} of the bytes active"
        draw.text((MARGIN, top), title, fill=(120, 120, 120), font=font)
        for byte, (row, column), weight in zip(text, cells, weights, strict=True):
            x, y = MARGIN + column * wide, top + (row + 1) * high
            if weight > 0:
                colour = WHITE + (BLUE - WHITE) * (0.25 + 0.75 * min(1.0, float(weight)))
                draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=tuple(colour.astype(int).tolist()))
            sign = chr(byte) if 32 <= byte < 127 else "¶" if byte == ord("\n") else "·"
            draw.text((x, y), sign, fill="black" if 32 <= byte < 127 else (160, 160, 160), font=font)
    return np.asarray(image)


def bpc_figure(bpc: np.ndarray, title: str) -> Figure:
    """bpc (L,): bits per byte by how many bytes of the block were read before, nan where none was scored."""
    read = np.arange(1, len(bpc) + 1)
    # single places are noisy far out: means of places as many as fill a twentieth of a decade
    edges = np.unique(np.geomspace(1, len(bpc) + 1, 20 * max(1, len(str(len(bpc))))).astype(int))
    means = [(read[a - 1 : b - 1].mean(), values.mean()) for a, b in pairwise(edges)
             if len(values := bpc[a - 1 : b - 1][np.isfinite(bpc[a - 1 : b - 1])])]  # fmt: skip
    figure, axis = plt.subplots(figsize=(7, 4))
    axis.plot(*zip(*means, strict=True), marker=".")
    axis.set(xscale="log", xlabel="bytes of the block read before", ylabel="bits per byte", title=title)
    axis.grid(alpha=0.3)
    figure.tight_layout()
    return figure


class TextPictures(Callback):
    """After each validation, of the same text (the first validation batch): the activated bytes of its first row
    as a picture, histograms of the attention spans of all its rows; and bits per byte by position."""

    def __init__(self):
        self.batch: Batch | None = None

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int, *args
    ) -> None:
        if self.batch is None and trainer.is_global_zero:
            self.batch = batch

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.batch is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        with torch.no_grad():
            out: ModelOutput = module(self.batch)
        text_module: Any = module  # a LanguageModelModule, which imports this file
        step = trainer.global_step
        text = bytes(self.batch.inputs[0, :LONGEST].tolist())
        weights = [a.confidence[0, :LONGEST].float().cpu().numpy() for a in out.activations]
        figure = bpc_figure(text_module.bpc_by_position.cpu().numpy(), f"validation after {step} updates")
        for logger in trainer.loggers:
            board = cast(Any, logger).experiment  # all of Lightning's have one, though their base class has none
            if not hasattr(board, "add_histogram"):
                continue
            board.add_image("activated text", text_raster(text, weights), step, dataformats="HWC")
            board.add_figure("bits per byte by position", figure, step)
            for i, activation in enumerate(out.activations):
                span, _ = attention_span(
                    activation.active, text_module.config.model.layer(i).memory_size, bidirectional=False
                )
                if len(span := span[span > 0]):
                    board.add_histogram(f"attention span/layer_{i}", span.cpu().numpy(), step)
        plt.close(figure)
