"""Anyone's sequences with labels."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least, expand_path, positive, require, seed
from seqboat_lab.config.data.base import LONGEST, DataConfig

ARRAY_FILES = (".csv", ".tsv", ".parquet", ".npz", ".npy")
"""How the names of files with labelled sequences end."""


@dataclass(frozen=True)
class ArrayConfig(DataConfig):
    """Classes of anyone's sequences of ids or numbers, from a file: a table (CSV, TSV, Parquet) with a row a sample, an
    .npz, or a pair of .npy files."""

    path: str | None = None
    """The file; of an .npy pair that with the sequences, an array (n, L). It trains, and gives what `val_path` and
    `test_path` do not."""
    labels: str | None = None
    """Where the classes are: the name of a column (null = `label`) or of an array in the .npz (null = `y`); of an .npy
    pair the path of the other file. Distinct labels, in sorted order, are the classes 0, 1, ..."""
    sequence: str | None = None
    """Where the sequences are. A table: the column that holds a whole one, numbers between spaces or commas; null =
    `sequence` if there is such a column, else each column but the label is a position. An .npz: the array; null = `x`
    (n, L), with `lengths` (n,) if they differ, or `values` (total,) with `offsets` (n + 1,)."""
    kind: Literal["ids", "real"] = "ids"
    """`ids`: whole numbers from 0, each with an embedding of its own; `real`: numbers as they are measured."""
    val_path: str | None = None
    """A file of its own that validates; null = drawn from `path`."""
    test_path: str | None = None
    """A file of its own that tests; null = drawn from `path`."""
    val_fraction: float = 0.1
    """Share of the samples of `path` that is drawn to validate, where there is no `val_path`."""
    test_fraction: float = 0.1
    """Share of the samples of `path` that is drawn to test, where there is no `test_path`."""
    split_seed: int = 42
    """Seed of the drawn splits; independent of the experiment's seed."""
    max_length: int | None = None
    """Values of a sequence that are read; longer ones are cut; null = none is."""
    vocab_size: int | None = None
    """Ids are below this, without the padding that is added; null = one more than the largest id in `path`. Set it if
    other files have larger ids."""
    standardise: bool = True
    """Subtract the training samples' mean from real values and divide by their standard deviation."""

    def __post_init__(self):
        super().__post_init__()
        pair = self.path is not None and self.path.lower().endswith(".npy")
        for name in ("path", "val_path", "test_path", *(("labels",) if pair else ())):
            expand_path(self, name)
            value = getattr(self, name)
            allowed = (".npy",) if name == "labels" else ARRAY_FILES if name == "path" else ARRAY_FILES[:-1]
            expected = f"a file that ends in {', '.join(allowed)}"
            require(value is None or value.lower().endswith(allowed), name, value, expected)
        require(not pair or self.labels is not None, "labels", self.labels, "the path of the .npy file with the labels")
        for name in ("val_path", "test_path"):
            value, expected = getattr(self, name), "null beside an .npy pair; put each split into an .npz"
            require(not pair or value is None, name, value, expected)
        for name in ("labels", "sequence"):
            require(getattr(self, name) != "", name, getattr(self, name), "a name, or null")
        for name in ("val_fraction", "test_fraction"):
            positive(self, name, 1e-9, 1)
        drawn = self.val_fraction * (self.val_path is None) + self.test_fraction * (self.test_path is None)
        name = "val_fraction" if self.val_path is None else "test_fraction"
        expected = "a share that, with that of the other split, is less than 1, so that samples are left to train on"
        require(drawn < 1, name, getattr(self, name), expected)
        seed(self, "split_seed")
        at_least(self, "max_length", 1, LONGEST)
        at_least(self, "vocab_size", 1, LONGEST)
        require(self.vocab_size is None or self.kind == "ids", "vocab_size", self.vocab_size, "null for kind: real")
