"""Recall tasks of CPU size that cannot be solved without attention (see generators/recall.py)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import count
from typing import Any

import numpy as np
import torch

from seqboat_lab.config.data import RecallConfig
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.generators.recall import BLANK, CLASSES, draw_chunk, token_classes, vocabulary
from seqboat_lab.data.loading.base import SequenceDataModule, StoreDataset
from seqboat_lab.data.loading.batch import IGNORED, Batch, Split, TaskSpec
from seqboat_lab.data.loading.encode import Ids

LOCAL = ("root", "batch_size", "num_workers", "train_size", "val_size", "test_size")
"""Fields that decide how many sequences there are and how they are read, not what they are."""


class AnswerDataset(StoreDataset):
    """A store's first parts are inputs, its second ones answers."""

    def __getitem__(self, samples: Sequence[int] | np.ndarray) -> Batch:
        both, _, _, _ = super().__getitem__(samples)
        inputs, answers = both.chunk(2)
        return Batch(inputs, None, answers.masked_fill(answers == BLANK, IGNORED))


class RecallDataModule(SequenceDataModule):
    """All variants: `labels` hold the answer at each position that asks, `IGNORED` elsewhere."""

    name = "recall"
    dtype = np.uint16
    parts = 2
    token_classes = CLASSES
    config: RecallConfig

    @property
    def spec(self) -> TaskSpec:
        size = len(vocabulary(self.config))
        return TaskSpec(size, size, "tokens", self.config.length)

    @property
    def variant(self) -> str:
        c = self.config
        noise = "once" if c.noise is None else f"{c.noise:g}"
        return (
            f"{c.variant}_length{c.length}_pairs{c.pairs}_noise{noise}_context{c.context:g}_power{c.gap_power:g}_"
            f"tokens{c.keys}-{c.values}-{c.noise_tokens}_size{c.train_size}-{c.val_size}-{c.test_size}_"
            f"seed{c.generator_seed}"
        )

    def fingerprint(self, split: Split) -> dict[str, Any]:
        drawn_from = {key: value for key, value in asdict(self.config).items() if key not in LOCAL}
        return fingerprint_of([], size=getattr(self.config, f"{split}_size"), **drawn_from)

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        left = getattr(self.config, f"{split}_size")
        for number in count():
            drawn = draw_chunk(self.config, split, number)
            for inputs, answers in zip(drawn.inputs[:left], drawn.answers[:left], strict=True):
                yield (inputs, answers), 0
            left -= len(drawn.inputs)
            if left <= 0:
                return

    def encoder(self) -> Ids:
        return Ids(len(vocabulary(self.config)))

    def dataset(self, split: Split) -> AnswerDataset:
        stored = super().dataset(split)
        return AnswerDataset(stored.store, stored.max_length, stored.encode)

    def token_class(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(token_classes(self.config, ids.cpu().numpy())).to(ids.device)

    def decode(self, ids: Sequence[int]) -> list[str]:
        names = vocabulary(self.config)
        return [names[i] for i in ids]
