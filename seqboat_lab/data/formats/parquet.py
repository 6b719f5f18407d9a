"""Parquet files of labelled sequences, through pyarrow (the extra `parquet`)."""

from pathlib import Path
from typing import Any

import numpy as np

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.formats.delimited import columns
from seqboat_lab.data.formats.samples import Samples, concatenated, no_number, sequence_of


def read_parquet(path: Path, sequence: str | None, label: str | None) -> Samples:
    """The rows of a table; the columns are named as for `read_delimited`, but that one with sequences may hold lists
    of numbers as well as text. Raises `DataError` with file and row, and where pyarrow is missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f"{path}: Parquet is read by pyarrow, which is not installed; install it with "
                        "pip install 'seqboat-lab[parquet]', or save the table as CSV") from None  # fmt: skip
    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
            of_label, chosen = columns(path, header, sequence, label)
            wanted = [chosen] if isinstance(chosen, int) else chosen
            # by position: the reader would take a name with a dot for a part of a column
            table = file.read().select([of_label, *wanted])
        labels = table.column(0).to_pylist()
        read = [_read(path, header[i], table.column(n)) for n, i in enumerate(wanted, start=1)]
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as Parquet ({reason}); write it anew") from None
    if isinstance(chosen, int):
        values, lengths = read[0]
    else:  # a column a position
        for i, (_, each) in zip(chosen, read, strict=True):
            if (each != 1).any():
                raise DataError(f"{path}, column {header[i]!r}: holds lists; name it in data.sequence if they are the "
                                "sequences")  # fmt: skip
        values = np.stack([v for v, _ in read], axis=1).ravel()  # (n * L,)
        lengths = np.full(len(labels), len(chosen))
    return Samples(path, values, np.cumsum(lengths) - lengths, lengths, labels, "row", range(1, len(labels) + 1))


def _read(path: Path, name: str, column: Any) -> tuple[np.ndarray, np.ndarray]:
    """A column's numbers (total,), and how many each row has (n,). Rows are counted from 1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        sequences = []
        for row, text in enumerate(column.to_pylist(), start=1):
            try:
                sequences.append(sequence_of(text or ""))
            except ValueError as error:
                raise no_number(f"{path}, row {row}, column {name!r}", error) from None
        values, _, lengths = concatenated(sequences)
        return values, lengths
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    inner = kind.value_type if lists else kind
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
        raise DataError(f"{path}, column {name!r}: holds {str(kind)[:80]}; expected numbers, lists of numbers, or text "
                        "with numbers between spaces or commas")  # fmt: skip
    if not lists:
        return _numpy(column), np.ones(len(column), np.int64)
    lengths = pc.list_value_length(column).fill_null(0)
    return _numpy(pc.list_flatten(column)), _numpy(lengths).astype(np.int64)


def _numpy(column: Any) -> np.ndarray:
    """(n,); null is NaN."""
    return column.to_numpy(zero_copy_only=False)
