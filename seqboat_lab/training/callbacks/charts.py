"""TensorBoard's Custom Scalars page of a run."""

import re
from collections.abc import Sequence
from typing import Any

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.data import LanguageConfig


def custom_scalars(config: ExperimentConfig, classes: Sequence[str] = ()) -> dict[str, dict[str, list[Any]]]:
    """One chart per question, all layers in one chart; one per layer for the `classes` of the task's tokens."""

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
        "decisions changed since the validation before": layers("val/decisions_changed"),
        "temperature": layers("temperature"),
        "mean attention span, in original positions": layers("val/span"),
        "working-memory fill": layers("val/memory_fill"),
        "learning rate": ["lr"],
        "tokens per second": ["tokens_per_second"],
    }
    shown = {title: [f"^{re.escape(tag)}$" for tag in tags] for title, tags in charts.items() if tags}  # patterns
    for i in range(config.model.activating_layers if classes else 0):  # of the kinds that occur
        title = f"activation rate by kind of token, layer {i} (validation)"
        shown[title] = [rf"^val/activation_rate_of_[a-z]+/layer_{i}$"]
    return {"SeqBoat": {title: ["Multiline", patterns] for title, patterns in shown.items()}}
