"""Retrieval: do two papers of the ACL Anthology Network cite each other? Byte by byte (Tay et al. 2020)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqboat_lab.config.data import RetrievalConfig
from seqboat_lab.data.files.errors import DataError, shown
from seqboat_lab.data.files.files import read_lines
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.generators import synthetic
from seqboat_lab.data.loading.base import SequenceDataModule
from seqboat_lab.data.loading.batch import Split, TaskSpec
from seqboat_lab.data.loading.encode import BYTE_CLASSES, Bytes, byte_class, decode_bytes

FILES = {split: f"new_aan_pairs.{name}.tsv" for split, name in (("train", "train"), ("val", "eval"), ("test", "test"))}
LABELS = {b"0": 0, b"0.0": 0, b"1": 1, b"1.0": 1}


def read_pairs(path: Path) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], int]]:
    """Both documents' bytes (uint8) and the label of each line: label, id1, id2, text1, text2, tab-separated.

    No header, no quoting: a quote is a byte like any other, and only a line feed ends a line.
    Raises `DataError` with file and line number.
    """
    number = 0
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        columns = line.removesuffix(b"\n").split(b"\t")
        if len(columns) != 5:
            raise DataError(
                f"{where}: expected 5 tab-separated columns (label, id1, id2, text1, text2), found {len(columns)}"
            )
        if columns[0] not in LABELS:
            raise DataError(f"{where}: label {shown(columns[0], 20)}; expected 0 or 1 (or 0.0 or 1.0)")
        for name, text in zip(("text1", "text2"), columns[3:], strict=True):
            if not text:
                raise DataError(f"{where}: {name} is empty; expected a document")
        pair = np.frombuffer(columns[3], np.uint8), np.frombuffer(columns[4], np.uint8)
        yield pair, LABELS[columns[0]]
    if number == 0:
        raise DataError(f"{path}: the file is empty; expected one pair of documents a line")


class RetrievalDataModule(SequenceDataModule):
    """AAN pairs from the official TSVs, or a synthetic stand-in."""

    name = "retrieval"
    token_classes = BYTE_CLASSES
    parts = 2
    config: RetrievalConfig

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(257, 2, "pair", self.config.max_length)

    @property
    def official(self) -> Official | None:
        if self.config.source != "official":
            return None
        members = ("lra_release/lra_release/tsv_data", "lra_release/tsv_data")
        return Official(
            "lra_release", members, "lra_release/tsv_data", tuple(FILES.values()), r"^new_aan_pairs\.", largest=1 << 35
        )

    @property
    def variant(self) -> str:
        c = self.config
        if c.source == "synthetic":
            return f"synthetic_length{c.max_length}_samples{c.synthetic_samples}_seed{c.generator_seed}"
        return "official"

    def fingerprint(self, split: Split) -> dict[str, Any]:
        if self.config.source == "synthetic":
            return fingerprint_of([])
        file = self.official_directory() / FILES[split]
        if not file.is_file():
            raise self.missing(file, "set data.source=synthetic to try things out on a small stand-in")
        return fingerprint_of([file])

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        c = self.config
        if c.source == "synthetic":
            return synthetic.retrieval(c.generator_seed, split, c.synthetic_samples, c.max_length)
        return read_pairs(self.official_directory() / FILES[split])

    def encoder(self) -> Callable[..., torch.Tensor]:
        return Bytes()

    def token_class(self, ids: torch.Tensor) -> torch.Tensor:
        return byte_class(ids - 1)

    def decode(self, ids: Sequence[int]) -> list[str]:
        return decode_bytes(ids)
