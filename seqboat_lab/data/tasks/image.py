"""Image: CIFAR-10 in grayscale, pixel by pixel (Krizhevsky 2009; Tay et al. 2020)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqboat_lab.config.data import ImageConfig
from seqboat_lab.data.files.errors import DataError, shown
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.formats import cifar_pickle
from seqboat_lab.data.generators import synthetic
from seqboat_lab.data.loading.base import SequenceDataModule
from seqboat_lab.data.loading.batch import Split, TaskSpec
from seqboat_lab.data.loading.encode import Bytes, Real

TRAIN_FILES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_FILE = "test_batch"
TRAIN_SHARE = 0.9


def luma(rgb: np.ndarray) -> np.ndarray:
    """(n, 3, pixels) uint8 -> (n, pixels) uint8: ITU-R 601 luma, rounded, in 16-bit fixed point."""
    r, g, b = (rgb[:, i].astype(np.uint32) for i in range(3))
    return ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16).astype(np.uint8)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Grayscale pixels (n, 1024) uint8 and labels (n,) of an official pickled batch.

    Raises `DataError` for anything that is not one.
    """
    batch = cifar_pickle.load(path)
    fields = {_text(key): value for key, value in batch.items()} if isinstance(batch, dict) else {}
    if "data" not in fields or "labels" not in fields:
        found = shown(", ".join(sorted(fields)), 100) if fields else type(batch).__name__
        raise DataError(f"{path}: expected a dictionary with 'data' and 'labels', found {found}")
    data, labels = fields["data"], fields["labels"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{path}: expected images as uint8 (n, 3072) for 3 x 32 x 32 pixels, found {found}")
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(labels, list) or len(labels) != len(data):
        found = str(len(labels)) if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{path}: expected {len(data)} labels, one an image, found {found}")
    for i, label in enumerate(labels):
        if type(label) is not int or not 0 <= label <= 9:
            value = label if isinstance(label, int | float) and abs(label) < 1e9 else type(label).__name__
            raise DataError(f"{path}, image {i}: label {value}; expected 0 to 9, a whole number")
    return luma(data.reshape(-1, 3, 1024)), np.array(labels, np.int64)


def _text(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode("latin1")
    return key if isinstance(key, str) else type(key).__name__


class ImageDataModule(SequenceDataModule):
    """CIFAR-10 from its official batches, or a synthetic stand-in."""

    name = "image"
    config: ImageConfig

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(257 if self.config.pixels == "bytes" else None, 10, "classifier", self.config.size**2)

    @property
    def official(self) -> Official | None:
        if self.config.source != "official":
            return None
        folder, files = "cifar-10-batches-py", (*TRAIN_FILES, TEST_FILE)
        return Official("cifar-10", (folder,), folder, files, r"^(data_batch_[1-5]|test_batch)$", unpacked=1 << 30)

    @property
    def variant(self) -> str:
        c = self.config
        if c.source == "synthetic":
            return f"synthetic_size{c.size}_samples{c.synthetic_samples}_seed{c.generator_seed}"
        return f"official_split-seed{c.split_seed}"

    def files(self, split: Split) -> list[Path]:
        names = (TEST_FILE,) if split == "test" else TRAIN_FILES
        return [self.official_directory() / name for name in names]

    def fingerprint(self, split: Split) -> dict[str, Any]:
        if self.config.source == "synthetic":
            return fingerprint_of([])
        for file in self.files(split):
            if not file.is_file():
                raise self.missing(file, "set data.source=synthetic to try things out on a small stand-in")
        return fingerprint_of(self.files(split))

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        c = self.config
        if c.source == "synthetic":
            yield from synthetic.image(c.generator_seed, split, c.synthetic_samples, c.size)
            return
        batches = [read_batch(file) for file in self.files(split)]
        pixels = np.concatenate([batch[0] for batch in batches])  # (n, 1024)
        labels = np.concatenate([batch[1] for batch in batches])  # (n,)
        chosen = np.arange(len(labels))
        if split != "test":  # in the order of torch's random_split with this seed, as the S4 line of work
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(c.split_seed)).numpy()
            count = int(TRAIN_SHARE * len(labels))
            chosen = order[:count] if split == "train" else order[count:]
        for i in chosen:
            yield (pixels[i],), int(labels[i])

    def encoder(self) -> Callable[..., torch.Tensor]:
        return Bytes() if self.config.pixels == "bytes" else Real(0.48, 0.24, 1 / 255)

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [""] * len(ids)  # a pixel has no character
