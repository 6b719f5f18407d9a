"""Anyone's sequences of ids or numbers with classes, from a table, an .npz or a pair of .npy files."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from seqboat_lab.config.data import ArrayConfig
from seqboat_lab.data.files.errors import DataError, shown
from seqboat_lab.data.files.files import reading, user_path
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.formats.arrays import read_npz, read_pair
from seqboat_lab.data.formats.delimited import read_delimited
from seqboat_lab.data.formats.parquet import read_parquet
from seqboat_lab.data.formats.samples import Samples
from seqboat_lab.data.loading.base import SequenceDataModule
from seqboat_lab.data.loading.batch import SPLITS, Split, TaskSpec
from seqboat_lab.data.loading.encode import Ids, Real
from seqboat_lab.data.loading.store import Store

MOST_IDS = 2**24
"""An embedding of more would not fit."""
LARGEST_REAL = 1e30
"""Far from what float32 cannot hold, and its square from what float64 cannot."""

Label = int | float | str


class Known(NamedTuple):
    """What the training file decides for all splits; of its own samples, only those that train give mean and std."""

    classes: list[Label]
    vocab_size: int
    """Without padding; 0 of real values."""
    mean: float
    std: float


class ArrayDataModule(SequenceDataModule):
    """Stores hold ids plus one (0 is padding), or standardised numbers.

    What a model must know (`spec`) stands in the stores, so asking for it prepares the data.
    """

    name = "array"
    config: ArrayConfig

    def __init__(self, config: ArrayConfig, *, seed: int, batch_size: int):
        super().__init__(config, seed=seed, batch_size=batch_size)
        self.dtype = np.float32 if config.kind == "real" else np.int32
        self._info: dict[Split, dict[str, Any]] = {}
        self._read: dict[Path, Samples] = {}  # while the stores are written
        self._known: Known | None = None

    @property
    def info(self) -> dict[Split, dict[str, Any]]:
        """What each split's store knows: `classes`, `vocab_size`, `mean`, `std`, `longest`."""
        if not self._info:
            self.prepare_data()
            self._info = {split: Store(self.store_path(split)).info for split in SPLITS}
        return self._info

    @property
    def head(self) -> Literal["classifier"]:
        return "classifier"

    @property
    def spec(self) -> TaskSpec:
        train = self.info["train"]
        vocab_size = None if self.config.kind == "real" else train["vocab_size"] + 1
        longest = max(info["longest"] for info in self.info.values())
        return TaskSpec(vocab_size, len(train["classes"]), "classifier", self.config.max_length or longest)

    @property
    def classes(self) -> list[Label]:
        """The label in the files of each class: whole numbers, other numbers, or text."""
        return self.info["train"]["classes"]

    @property
    def command(self) -> str:
        return f"seqboat data prepare {self.name} path={self.config.path or 'FILE'}"

    @property
    def variant(self) -> str:
        c = self.config
        if c.path is None:
            return "(data.path)"
        labels = str(self.labels_file or c.labels)
        settings = [
            labels,
            c.sequence,
            c.kind,
            c.val_fraction,
            c.test_fraction,
            c.split_seed,
            c.vocab_size,
            c.standardise,
        ]
        identity = json.dumps([*(str(self.file(split)) for split in SPLITS), *settings])
        return f"{self.file('train').name[:40]}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    def file(self, split: Split) -> Path:
        """Where a split's samples stand. Raises `DataError` if there is no path."""
        c = self.config
        if c.path is None:
            raise DataError("data.path: null is not possible here; set it to a .csv, .tsv, .parquet, .npz or .npy file")
        own = {"train": None, "val": c.val_path, "test": c.test_path}[split]
        return user_path(own or c.path, f"data.{split}_path" if own else "data.path").absolute()

    @property
    def labels_file(self) -> Path | None:
        """The second file of an .npy pair."""
        path, labels = self.config.path, self.config.labels
        if path is None or labels is None or not path.lower().endswith(".npy"):
            return None
        return user_path(labels, "data.labels").absolute()

    def fingerprint(self, split: Split) -> dict[str, Any]:
        files = dict.fromkeys(filter(None, [self.file("train"), self.labels_file, self.file(split)]))
        for file in files:
            with reading(file):
                if not file.is_file():
                    raise DataError(
                        f"{file}: no such file; set data.path (or labels, val_path, test_path) to your file"
                    )
        return fingerprint_of(files)

    def prepare_data(self) -> None:
        self._info = {}
        try:
            super().prepare_data()
        finally:
            self._read, self._known = {}, None

    def split(self, split: Split) -> tuple[Samples, Sequence[int]]:
        """A split's file, and which of its samples belong to the split, in the file's order."""
        c, data = self.config, self._samples_of(self.file(split))
        drawn = {"val": c.val_fraction * (c.val_path is None), "test": c.test_fraction * (c.test_path is None)}
        if split != "train" and not drawn[split]:
            return data, range(len(data))
        counts = {name: max(1, round(share * len(data))) if share else 0 for name, share in drawn.items()}
        left = len(data) - sum(counts.values())
        if left < 1:
            raise DataError(f"{data.path}: {len(data)} samples are too few to draw all splits from; set data.val_path "
                            "and data.test_path, or smaller fractions")  # fmt: skip
        order = np.random.default_rng(c.split_seed).permutation(len(data))
        ends = {"train": (0, left), "val": (left, left + counts["val"]), "test": (left + counts["val"], len(data))}
        return data, np.sort(order[slice(*ends[split])]).tolist()

    def _samples_of(self, file: Path) -> Samples:
        if file not in self._read:
            with reading(file):
                if self.labels_file is not None:
                    data = read_pair(file, self.labels_file)
                else:
                    read = {".npz": read_npz, ".parquet": read_parquet}.get(file.suffix.lower(), read_delimited)
                    data = read(file, self.config.sequence, self.config.labels)
            if not len(data):
                raise DataError(f"{file}: holds no samples; expected at least one for each split")
            self._read[file] = data
        return self._read[file]

    def known(self) -> Known:
        """What is learnt from the training file, all of which is looked at."""
        if self._known is None:
            data, training = self.split("train")
            labels = [label_of(data, i) for i in range(len(data))]
            classes = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
            if len(classes) == len(labels) > 2:
                raise DataError(f"{data.path}: each of the {len(labels):,} labels occurs only once; expected classes; "
                                "set data.labels")  # fmt: skip
            if len({labels[i] for i in training}) < 2:
                raise DataError(f"{data.path}: all samples that train have the label {labels[training[0]]!r}; expected "
                                "at least two classes")  # fmt: skip
            largest = max(int(self.checked(data, i).max()) for i in range(len(data))) if self.dtype == np.int32 else -1
            mean, std = 0.0, 1.0
            if self.config.kind == "real" and self.config.standardise:
                mean, std = mean_and_std(self.checked(data, i) for i in training)
            self._known = Known(classes, self.config.vocab_size or largest + 1, mean, std)
        return self._known

    def checked(self, data: Samples, i: int) -> np.ndarray:
        """A sequence as the file has it, (L,) float64. Raises `DataError` with its place."""
        values = data.sequence(i).astype(np.float64)
        if not len(values):
            raise DataError(f"{data.place(i)}: the sequence is empty; expected at least one number")
        if self.config.kind == "real":
            wrong, expected = ~(np.abs(values) <= LARGEST_REAL), f"a finite number up to {LARGEST_REAL:g}"
        else:
            most = self.config.vocab_size or (self._known.vocab_size if self._known else MOST_IDS)
            wrong = ~((values >= 0) & (values < most) & (values == np.floor(values)))
            expected = f"a whole number from 0 to {most - 1}"
            if self.config.vocab_size or self._known:
                expected += " (data.vocab_size)" if self.config.vocab_size else (
                    f", the largest id in {self.config.path}; set data.vocab_size if there are more"
                )  # fmt: skip
        if wrong.any():
            at = int(wrong.argmax())
            hint = "; for measured numbers set data.kind=real" if self.config.kind == "ids" else ""
            raise DataError(f"{data.place(i)}, value {at + 1}: {values[at]:g}, expected {expected}{hint}")
        return values

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        known = self.known()
        data, chosen = self.split(split)
        numbers = {label: number for number, label in enumerate(known.classes)}
        longest = 0
        for i in chosen:
            values, label = self.checked(data, i), label_of(data, i)
            if label not in numbers:
                raise DataError(f"{data.place(i)}: the label {label!r} is not among the {len(numbers)} of "
                                f"{self.config.path}: {listed(known.classes)}")  # fmt: skip
            if self.config.kind == "ids":
                stored = values + 1
            else:
                stored = (values - known.mean) / known.std
                if not (np.abs(stored) <= LARGEST_REAL).all():
                    raise DataError(f"{data.place(i)}: too far from the training values (mean {known.mean:g}, standard "
                                    f"deviation {known.std:g}) to be standardised")  # fmt: skip
            longest = max(longest, len(values))
            yield (stored.astype(self.dtype),), numbers[label]
        self.facts |= {**known._asdict(), "longest": longest}
        if split == "train" and known.classes != list(range(len(known.classes))):
            told = listed([f"{label} = {number}" for label, number in numbers.items()])
            print(f"{data.path.name}: {len(numbers)} classes: {told}", file=sys.stderr)

    def encoder(self) -> Callable[..., torch.Tensor]:
        return Real(0.0, 1.0) if self.config.kind == "real" else Ids(self.info["train"]["vocab_size"] + 1)

    def decode(self, ids: Sequence[float]) -> list[str]:
        """Ids and numbers as the file has them; nothing for the padding of ids."""
        train = self.info["train"]
        if self.config.kind == "real":
            return [f"{value * train['std'] + train['mean']:.6g}" for value in ids]
        return [str(int(i) - 1) if i else "" for i in ids]


NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")
"""Text that is one; 01 is none, so that it does not become 1."""


def label_of(data: Samples, i: int) -> Label:
    """A sample's label, the same whether it stands in a table or an array: a whole number if it is one, else another
    number, else text. Raises `DataError` if there is none."""
    value = data.labels[i]
    text = value if value is None or isinstance(value, int | float) else str(value).strip()  # dates are text
    if isinstance(text, str) and NUMBER.fullmatch(text):
        text = float(text) if set(text) & set(".eE") else int(text)
    if isinstance(text, float):
        text = int(text) if text.is_integer() else "nan" if not math.isfinite(text) else text
    if text is None or (isinstance(text, str) and text.lower() in ("", "nan")):
        raise DataError(f"{data.place(i)}: no label ({shown(str(value))}); expected a number or text")
    return text if isinstance(text, str | float) else int(text)


def listed(labels: Sequence[Label]) -> str:
    """The first few, for a line."""
    return ", ".join(str(label) for label in labels[:20]) + (", ..." if len(labels) > 20 else "")


def mean_and_std(sequences: Iterator[np.ndarray]) -> tuple[float, float]:
    """Of all values together; a constant's deviation is taken as 1.

    Sums of squares about each sequence's own mean (Chan et al. 1983): exact for values far from 0, too.
    """
    count, mean, squares = 0, 0.0, 0.0
    for values in sequences:
        apart = float(values.mean()) - mean
        total = count + len(values)
        squares += float(((values - values.mean()) ** 2).sum()) + apart**2 * count * len(values) / total
        mean += apart * len(values) / total
        count = total
    std = math.sqrt(squares / count)
    return mean, std if std > 1e-30 else 1.0
