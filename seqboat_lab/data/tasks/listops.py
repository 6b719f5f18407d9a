"""ListOps: nested operations on lists of digits, classified by their value (arXiv 1804.06028, 2011.04006)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqboat_lab.config import ListOpsConfig
from seqboat_lab.data.files.errors import DataError, shown
from seqboat_lab.data.files.files import read_lines
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.generators.listops import HEADER, OPERATORS, generate, generated_directory
from seqboat_lab.data.loading.base import SequenceDataModule
from seqboat_lab.data.loading.batch import SPLITS, Split, TaskSpec
from seqboat_lab.data.loading.encode import Ids

VOCABULARY = ("<pad>", *"0123456789", *OPERATORS, "]")
"""Token of each id; fixed, so that every file and every checkpoint agree."""
CLASSES = ("padding", "digit", "operator", "bracket")
_CLASS_OF_ID = torch.tensor([0] + [1] * 10 + [2] * len(OPERATORS) + [3])
_IDS = {token.encode(): number for number, token in enumerate(VOCABULARY) if number > 0}


def read_tsv(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Token ids (uint8) and label of each line of an official file; parentheses are dropped.

    Raises `DataError` with file and line number.
    """
    number = 0
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        columns = line.rstrip(b"\r\n").split(b"\t")
        if number == 1:
            if columns != HEADER.rstrip().encode().split(b"\t"):
                raise DataError(f"{where}: expected the header 'Source<TAB>Target', found {shown(line)}")
            continue
        if len(columns) != 2:
            raise DataError(f"{where}: expected 2 columns (Source, Target), found {len(columns)}")
        tokens = columns[0].translate(None, b"()").split()
        try:
            ids = bytes(map(_IDS.__getitem__, tokens))
        except KeyError as error:
            allowed = " ".join(VOCABULARY[1:])
            raise DataError(f"{where}: unknown token {shown(error.args[0])}; expected {allowed}") from None
        if not ids:
            raise DataError(f"{where}: the expression is empty")
        if columns[1] not in _IDS or not columns[1].isdigit():
            raise DataError(f"{where}: label {shown(columns[1])}; expected a digit 0 to 9")
        yield np.frombuffer(ids, np.uint8), int(columns[1])
    if number < 2:
        raise DataError(f"{path}: expected a header and at least one line, found {number} lines")


class ListOpsDataModule(SequenceDataModule):
    """ListOps from the official TSVs or from the project's own generator."""

    name = "listops"
    token_classes = CLASSES
    config: ListOpsConfig

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(len(VOCABULARY), 10, "classifier", self.config.max_length)

    @property
    def official(self) -> Official | None:
        if self.config.source != "official":
            return None
        files = tuple(f"basic_{split}.tsv" for split in SPLITS)
        members = ("lra_release/lra_release/listops-1000", "lra_release/listops-1000")
        return Official("lra_release", members, "lra_release/listops-1000", files, largest=1 << 31)

    @property
    def variant(self) -> str:
        return "official" if self.config.source == "official" else generated_directory(self.config).name

    def directory(self) -> Path:
        """Where the TSVs are, or should be."""
        if self.config.source == "generated":
            return generated_directory(self.config)
        return self.official_directory()

    def prepare_source(self) -> None:
        if self.config.source == "generated":
            generate(self.config, self.processes)

    def fingerprint(self, split: Split) -> dict[str, Any]:
        file = self.directory() / f"basic_{split}.tsv"
        if not file.is_file():
            raise self.missing(file, "set data.source=generated to use the generator")
        return fingerprint_of([file], vocabulary=list(VOCABULARY))

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        for ids, label in read_tsv(self.directory() / f"basic_{split}.tsv"):
            yield (ids,), label

    def encoder(self) -> Callable[..., torch.Tensor]:
        return Ids(len(VOCABULARY))

    def token_class(self, ids: torch.Tensor) -> torch.Tensor:
        return _CLASS_OF_ID.to(ids.device)[ids]

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [VOCABULARY[i] for i in ids]
