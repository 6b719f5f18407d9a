"""Labelled sequences as a file of anyone's has them: what every reader returns."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqboat_lab.data.files.errors import DataError, shown


@dataclass(frozen=True)
class Samples:
    """n sequences with n labels; nothing is known yet of what they hold, but that the values are numbers."""

    path: Path
    """The file with the sequences."""
    values: np.ndarray
    """All sequences one after the other, real numbers of any type; may be a memory map."""
    starts: np.ndarray
    """(n,) where each begins."""
    lengths: np.ndarray
    """(n,)"""
    labels: Sequence[Any]
    """(n) whole or other numbers, truth values, or text."""
    unit: str
    """What a sample is called: `line`, `row`, or the name of an array."""
    numbers: Sequence[int]
    """(n) which of them each one is."""

    def __len__(self) -> int:
        return len(self.starts)

    def sequence(self, i: int) -> np.ndarray:
        """(L,)"""
        return self.values[self.starts[i] : self.starts[i] + self.lengths[i]]

    def place(self, i: int) -> str:
        """Where a sample stands, for errors."""
        of_array = self.unit not in ("line", "row")
        return f"{self.path}, {self.unit}" + (f"[{self.numbers[i]}]" if of_array else f" {self.numbers[i]}")


def pick(path: Path, key: str, name: str, known: Iterable[str], what: str) -> str:
    """`name` if the file has it, else a `DataError` that names the nearest. `key` is the field that chooses."""
    known = list(known)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    has = ", ".join(shown(k) for k in known[:12]) + (f", ... ({len(known):,} in all)" if len(known) > 12 else "")
    raise DataError(f"{path}: no {what} {name!r}{hint}; it has: {has or 'none'}; set data.{key}")


def sequence_of(text: str) -> np.ndarray:
    """The numbers of a text, between spaces or commas, perhaps in brackets: (n,) float64. Raises `ValueError`, which
    names the word that is no number."""
    words = text.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    return np.fromiter(map(float, words), np.float64, len(words))


def no_number(where: str, error: ValueError) -> DataError:
    """The error for text where numbers belong."""
    word = str(error).partition(": ")[2].strip("'\"")
    return DataError(f"{where}: {shown(word)} is no number; expected numbers between spaces or commas")


def concatenated(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (total,), starts (n,) and lengths (n,) of sequences (L,)."""
    lengths = np.array([len(s) for s in sequences], np.int64)
    values = np.concatenate(sequences) if sequences else np.zeros(0)
    return values, np.cumsum(lengths) - lengths, lengths
