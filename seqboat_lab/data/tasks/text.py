"""Text: the sentiment of IMDb reviews, byte by byte (Maas et al. 2011; Tay et al. 2020)."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqboat_lab.config.data import TextConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import LONGEST_LINE, data_files, read_bounded
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.generators import synthetic
from seqboat_lab.data.loading.base import SequenceDataModule
from seqboat_lab.data.loading.batch import Split, TaskSpec
from seqboat_lab.data.loading.encode import BYTE_CLASSES, Bytes, byte_class, decode_bytes

CLASSES = ("neg", "pos")
"""Directory of each label."""
CARVED = 0.1
"""Share of the training reviews that validates."""


def read_review(path: Path) -> np.ndarray:
    """A review's bytes, (L,) uint8. Raises `DataError` if there are none."""
    data = read_bounded(path, LONGEST_LINE, "a review")
    if not data:
        raise DataError(f"{path}: the review is empty; expected its text; get the file again or delete it")
    return np.frombuffer(data, np.uint8)


class TextDataModule(SequenceDataModule):
    """IMDb from its official directories, or a synthetic stand-in."""

    name = "text"
    token_classes = BYTE_CLASSES
    config: TextConfig

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(257, 2, "classifier", self.config.max_length)

    @property
    def official(self) -> Official | None:
        if self.config.source != "official":
            return None
        folders = tuple(f"{split}/{name}" for split in ("train", "test") for name in CLASSES)
        return Official(
            "aclImdb",
            ("aclImdb",),
            "aclImdb",
            folders,
            r"^(train|test)/(pos|neg)/[^/]+\.txt$",
            largest=1 << 24,
            unpacked=1 << 31,
        )

    @property
    def variant(self) -> str:
        c = self.config
        if c.source == "synthetic":
            return f"synthetic_length{c.max_length}_samples{c.synthetic_samples}_seed{c.generator_seed}"
        return "official_validation-test" if c.validation == "test" else f"official_carve-seed{c.split_seed}"

    def prepare_source(self) -> None:
        if self.config.source == "official" and self.config.validation == "test":
            warnings.warn(
                "data.validation=test: the test split is also the validation split, as in LRA's own code; what is "
                "chosen on it (a checkpoint, a hyperparameter) makes the reported test accuracy too good",
                stacklevel=2,
            )

    def fingerprint(self, split: Split) -> dict[str, Any]:
        if self.config.source == "synthetic":
            return fingerprint_of([])
        assert self.official is not None  # the source is official
        folders = [self.official_directory() / folder for folder in self.official.needed]
        for folder in folders:
            if not folder.is_dir():
                raise self.missing(folder, "set data.source=synthetic to try things out on a small stand-in")
        return fingerprint_of(folders)

    def places(self, split: Split) -> Sequence[Path]:
        if self.config.source == "synthetic":
            return ()
        return [self.official_directory() / ("test" if self._is_held(split) else "train") / name for name in CLASSES]

    def _is_held(self, split: Split) -> bool:
        """Whether the split is the official test split."""
        return split == "test" or (split == "val" and self.config.validation == "test")

    def files(self, split: Split) -> Iterator[tuple[Path, int]]:
        """The split's reviews and labels, in a fixed order."""
        held = self._is_held(split)
        for label, name in enumerate(CLASSES):
            folder = self.official_directory() / ("test" if held else "train") / name
            files = data_files(folder, ".txt")
            if not files:
                raise DataError(f"{folder}: expected reviews (*.txt) here, found none; unpack the archive again")
            if not held and self.config.validation == "carve":
                order = np.random.default_rng([self.config.split_seed, label]).permutation(len(files))
                count = round(CARVED * len(files))
                chosen = order[:count] if split == "val" else order[count:]
                files = [files[i] for i in sorted(chosen)]
            yield from ((file, label) for file in files)

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        c = self.config
        if c.source == "synthetic":
            yield from synthetic.text(c.generator_seed, split, c.synthetic_samples, c.max_length)
            return
        for file, label in self.files(split):
            yield (read_review(file),), label

    def encoder(self) -> Callable[..., torch.Tensor]:
        return Bytes()

    def token_class(self, ids: torch.Tensor) -> torch.Tensor:
        return byte_class(ids - 1)

    def decode(self, ids: Sequence[int]) -> list[str]:
        return decode_bytes(ids)
