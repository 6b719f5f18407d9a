"""CSV and TSV files of labelled sequences."""

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from seqboat_lab.data.files.errors import DataError, shown
from seqboat_lab.data.files.files import read_lines, reading
from seqboat_lab.data.formats.samples import Samples, concatenated, no_number, pick, sequence_of

LONGEST_ROW = 1 << 28
"""Bytes."""


def read_delimited(path: Path, sequence: str | None, label: str | None) -> Samples:
    """The rows of a table whose first line names its columns.

    Args:
        sequence: the column that holds a whole sequence, numbers between spaces or commas; null = `sequence` if there
            is such a column, else all columns but the label, in order, are the positions.
        label: the column with the class; null = `label`.

    Values between tabs where the name ends in `.tsv`, else between what the first line has most of: commas,
    semicolons or tabs. Raises `DataError` with file and line.
    """
    with reading(path):
        rows = _rows(path)
        _, header = next(rows, (0, None))
        if header is None:
            raise DataError(f"{path}: empty; expected a first line with the names of the columns, then a row a sample")
        header = [name.strip() for name in header]
        of_label, of_values = columns(path, header, sequence, label)
        sequences, labels, lines = [], [], []
        for line, row in rows:
            if len(row) != len(header):
                raise DataError(f"{path}, line {line}: {len(row)} cells, expected {len(header)} as in the first line")
            sequences.append(_values(f"{path}, line {line}", header, row, of_values))
            labels.append(row[of_label])
            lines.append(line)
    return Samples(path, *concatenated(sequences), labels, "line", lines)


def columns(path: Path, header: list[str], sequence: str | None, label: str | None) -> tuple[int, int | list[int]]:
    """Which column holds the label, and which the sequence, or the positions one by one. Raises `DataError`."""
    twice = next((name for name in header if header.count(name) > 1), None) if len(set(header)) < len(header) else None
    if twice is not None:
        raise DataError(f"{path}: two columns are called {twice!r}; expected a first line with a name for each column")
    of_label = header.index(pick(path, "labels", label or "label", header, "column"))
    if sequence is None and "sequence" not in header:
        positions = [i for i in range(len(header)) if i != of_label]
        if not positions:
            raise DataError(
                f"{path}: no column but {header[of_label]!r}; expected one with sequences, or one a position"
            )
        return of_label, positions
    of_sequence = header.index(pick(path, "sequence", sequence or "sequence", header, "column"))
    if of_sequence == of_label:
        raise DataError(f"{path}: data.sequence and data.labels both name the column {header[of_label]!r}")
    return of_label, of_sequence


def _values(where: str, header: list[str], row: list[str], chosen: int | list[int]) -> np.ndarray:
    if isinstance(chosen, int):
        try:
            return sequence_of(row[chosen])
        except ValueError as error:
            raise no_number(f"{where}, column {header[chosen]!r}", error) from None
    for_each = []
    for i in chosen:
        try:
            for_each.append(float(row[i]))
        except ValueError:
            raise DataError(
                f"{where}, column {header[i]!r}: {shown(row[i])} is no number; every column but the label is read as a "
                "position; if one column holds the whole sequence, name it in data.sequence"
            ) from None
    return np.array(for_each)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Cells of each row that is not blank, with the number of the line it ends on."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))  # the process's; only ever raised
    lines = _lines(path)
    first = next(lines, "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; expected a table with {delimiter!r} between cells "
                        "and \" around those that hold one") from None  # fmt: skip


def _lines(path: Path) -> Iterator[str]:
    for number, line in read_lines(path, LONGEST_ROW):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number}: byte {error.start + 1} is no UTF-8; save the table as UTF-8"
            ) from None
