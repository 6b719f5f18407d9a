"""Bits per byte by how many bytes of the block were read before, as a picture after each validation."""

from itertools import pairwise
from typing import Any, cast

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure


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


class BitsByPositionPicture(Callback):
    """Draws what a `LanguageModelModule` measured."""

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        measured: Any = module  # a LanguageModelModule, which imports this file
        bpc, step = measured.bpc_by_position.cpu().numpy(), trainer.global_step
        figure = bpc_figure(bpc, f"validation after {step} updates")
        for logger in trainer.loggers:
            board = cast(Any, logger).experiment  # all of Lightning's have one, though their base class has none
            if hasattr(board, "add_figure"):
                board.add_figure("bits per byte by position", figure, step)
        plt.close(figure)
