"""NumPy files of labelled sequences: an .npz, or a pair of .npy files. Nothing is ever unpickled."""

import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import reading
from seqboat_lab.data.formats.npy import read_header
from seqboat_lab.data.formats.samples import Samples, pick

LARGEST = 1 << 34
"""Bytes of an array in an .npz, which is read at once; an .npy is only mapped."""
NUMBERS = "iuf"
LABELS = "biufU"
EXPECTED = {
    NUMBERS: "an array of numbers",
    LABELS: "an array of numbers or text (np.asarray(labels, dtype=str), not one of objects)",
}


class Clipped(io.FileIO):
    """A file that is asked for no more than it has: zipfile asks for what a damaged directory claims, gigabytes at
    worst, which Python makes room for before it reads."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None or size < 0 else min(size, os.fstat(self.fileno()).st_size)) or b""


def read_pair(path: Path, labels: Path) -> Samples:
    """Sequences (n, L) and labels (n,) in two .npy files, the first one mapped. Raises `DataError`."""
    x, y = _map(path, NUMBERS), _map(labels, LABELS)
    return _samples(path, path.name, x, labels.name, y, None, None)


def read_npz(path: Path, sequence: str | None, label: str | None) -> Samples:
    """Arrays of an .npz.

    Args:
        sequence: the array with the sequences: (n, L), of which an array `lengths` (n,) may say how much of each row
            counts; or (total,) with an array `offsets` (n + 1,), where each sequence starts and the last one ends.
            null = `x`, or `values` if there is no x.
        label: the array with the classes, (n,); null = `y`.

    Raises `DataError`.
    """
    try:
        with reading(path), Clipped(path) as whole, zipfile.ZipFile(whole) as file:
            known = [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
            default = "values" if "x" not in known and "values" in known else "x"
            of_x = pick(path, "sequence", sequence or default, known, "array")
            of_y = pick(path, "labels", label or "y", known, "array")
            x, y = _member(path, file, of_x, NUMBERS), _member(path, file, of_y, LABELS)
            rows = {1: "offsets", 2: "lengths"}.get(x.ndim, "")
            extra = _member(path, file, rows, "iu") if rows in known else None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, LookupError,
            MemoryError) as error:  # fmt: skip
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: damaged, or no .npz ({reason}); expected what np.savez writes") from None
    if x.ndim == 1:
        if extra is None:
            raise DataError(f"{path}: {of_x} has one dimension and there is no array offsets; expected {of_x} (n, L), "
                            "or offsets (n + 1,), where each sequence starts")  # fmt: skip
        return _samples(path, of_x, x, of_y, y, extra, None)
    return _samples(path, of_x, x, of_y, y, None, extra)


def _samples(
    path: Path, of_x: str, x: np.ndarray, of_y: str, y: np.ndarray, offsets: np.ndarray | None,
    lengths: np.ndarray | None,
) -> Samples:  # fmt: skip
    if offsets is None and x.ndim != 2:
        raise DataError(f"{path}: {of_x} has shape {x.shape[:6]}, expected (n, L): a row of numbers a sample")
    if y.ndim != 1:
        raise DataError(f"{path}: {of_y} has shape {y.shape[:6]}, expected (n,): a class a sample")
    if offsets is not None:
        _check(path, "offsets", offsets, len(y) + 1, len(x))
        if offsets[0] != 0 or offsets[-1] != len(x):
            raise DataError(f"{path}: offsets go from {offsets[0]} to {offsets[-1]}, expected from 0 to {len(x)}, the "
                            f"length of {of_x}")  # fmt: skip
        starts, each = offsets[:-1].astype(np.int64), np.diff(offsets.astype(np.int64))
        if (each < 0).any():
            raise DataError(f"{path}: offsets[{int((each < 0).argmax()) + 1}] is smaller than the one before")
        return Samples(path, x, starts, each, _listed(path, of_y, y), of_x, range(len(y)))
    n, longest = x.shape
    if n != len(y):
        raise DataError(f"{path}: {n:,} sequences in {of_x}, but {len(y):,} labels in {of_y}; expected one for each")
    if lengths is None:
        lengths = np.full(n, longest)
    _check(path, "lengths", lengths, n, longest)
    starts = np.arange(n, dtype=np.int64) * longest
    return Samples(path, x.reshape(-1), starts, lengths.astype(np.int64), _listed(path, of_y, y), of_x, range(n))


def _check(path: Path, name: str, array: np.ndarray, count: int, most: int) -> None:
    if array.shape != (count,):
        raise DataError(f"{path}: {name} has shape {array.shape[:6]}, expected ({count},), from the number of labels")
    wrong = (array < 0) | (array > most)
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(f"{path}: {name}[{i}] is {array[i]}, expected 0 to {most}")


def _listed(path: Path, name: str, y: np.ndarray) -> list[Any]:
    try:
        return y.tolist()
    except ValueError as error:  # text that is none
        raise DataError(f"{path}: {name} is damaged ({error})") from None


def _map(path: Path, kinds: str) -> np.ndarray:
    with reading(path), open(path, "rb") as file:
        header = read_header(file, path.stat().st_size)
    if header is None or header.dtype.kind not in kinds:
        raise _no_array(path, kinds)
    if not all(header.shape):
        return np.zeros(header.shape, header.dtype)  # nothing cannot be mapped
    with reading(path):
        return np.memmap(path, header.dtype, "r", header.offset, header.shape, "F" if header.fortran_order else "C")


def _member(path: Path, file: zipfile.ZipFile, name: str, kinds: str) -> np.ndarray:
    info = file.getinfo(f"{name}.npy")
    if info.file_size > LARGEST:
        raise DataError(f"{path}: {name} has {info.file_size:,} bytes, expected up to {LARGEST:,}; save it as an .npy")
    with file.open(info) as member:
        header = read_header(member, info.file_size)
        if header is None or header.dtype.kind not in kinds:
            raise _no_array(f"{path}: {name}", kinds)
        data = member.read()  # grows with what is there; a wrong checksum raises
    if len(data) != info.file_size - header.offset:
        raise DataError(f"{path}: {name} is cut; write the file again")
    return np.frombuffer(data, header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")


def _no_array(where: Path | str, kinds: str) -> DataError:
    expected = EXPECTED.get(kinds, "an array of whole numbers")
    return DataError(
        f"{where}: damaged, or holds something else; expected {expected} as np.save writes it; sequences of different "
        "lengths go into an .npz as x (n, L) with lengths (n,), or as values with offsets (n + 1,)"
    )
