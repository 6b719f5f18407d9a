"""One split of a task on disk: memory-mapped arrays that open at once and are shared by all workers.

A store is a directory with `values.npy` (all samples one after the other), `offsets.npy` (where each segment
starts), `labels.npy` and `meta.json` (format, fingerprint of the source, sizes). It is written beside its
place and lands by a rename, so a store that is there is complete; one whose sizes or fingerprint differ is
rebuilt. `meta.json` has checksums of the arrays and of itself. Offsets and labels are compared at every opening, the
values too where they are small, and else by `seqboat data prepare`.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import landing, reading
from seqboat_lab.data.formats.npy import read_header

FORMAT = 2
ARRAYS = ("values.npy", "offsets.npy", "labels.npy")
SMALL = 1 << 24
"""Bytes that are read at every opening to see whether they are still those that were written."""


class Store:
    """A read-only split of n samples with `parts` segments each (2 for document pairs, else 1).

    Pickles as its path, so handing it to loader workers copies no data.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        meta = _read_meta(self.path)
        if meta is None:
            raise DataError(f"{self.path}: no complete array store here; prepare the task's data again")
        self.parts: int = meta["parts"]
        self.info: dict[str, Any] = meta["info"]
        self.values, self.offsets, self.labels = (_map(self.path / name, meta["checksums"][name]) for name in ARRAYS)
        # (total,), (n * parts + 1,), (n,)

    def __reduce__(self):
        return Store, (self.path,)

    def __len__(self) -> int:
        return len(self.labels)

    def lengths(self) -> np.ndarray:
        """(n,) int64: the length of each sample's longest part."""
        return np.diff(self.offsets).reshape(-1, self.parts).max(axis=1)

    def gather(self, samples: Sequence[int] | np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples side by side, cut to `max_length` and padded with 0 to the longest of them.

        Returns values (parts * B, L), all first parts before all second ones, and lengths (parts * B,) int64.
        """
        samples = np.asarray(samples, dtype=np.int64)
        segments = (samples * self.parts + np.arange(self.parts)[:, None]).ravel()  # (parts * B,)
        starts = self.offsets[segments]
        lengths = np.minimum(self.offsets[segments + 1] - starts, max_length)
        rows = np.zeros((len(segments), int(lengths.max(initial=0))), self.values.dtype)
        values = np.asarray(self.values)  # the same memory; a memory map takes four times as long to slice
        for row, start, length in zip(rows, starts, lengths, strict=True):
            row[:length] = values[start : start + length]
        return rows, lengths


def is_complete(path: Path, fingerprint: dict[str, Any]) -> bool:
    """Whether `path` holds a whole store made from the source with this fingerprint."""
    meta = _read_meta(path)
    return meta is not None and meta["fingerprint"] == fingerprint


def made_from(path: Path) -> dict[str, Any] | None:
    """The `scan` of all files that the store was made from, if it was told one."""
    meta = _read_meta(path)
    return meta and meta["scan"]


def is_undamaged(path: Path) -> bool:
    """Whether a whole store still holds all the bytes that were written; reads all of it."""
    meta = _read_meta(path)
    return meta is not None and all(checksum(path / name) == meta["checksums"][name] for name in ARRAYS)


def write_store(
    path: Path,
    samples: Iterable[tuple[Sequence[np.ndarray], int]],
    dtype: np.dtype | type,
    fingerprint: dict[str, Any],
    parts: int = 1,
    info: dict[str, Any] | None = None,
    scan: dict[str, Any] | None = None,
) -> int:
    """Stream `samples` (their parts as 1-D arrays, their label) into a store at `path`; returns how many.

    `info` is kept in the store for the reader (such as a training mean); it is read after the last sample.
    `scan`: of all the source's files, where `fingerprint` does not name each (see origin.py).
    Call it under `locked(path)`. Raises `DataError` when the disk is full or there is no sample.
    """
    dtype, labels, lengths = np.dtype(dtype), [], []
    with landing(path) as temporary:
        temporary.mkdir()
        with open(temporary / "values.npy", "wb") as file:
            start = _write_header(file, dtype, 0)
            for segments, label in samples:
                for segment in segments:
                    file.write(np.ascontiguousarray(segment, dtype).data)
                    lengths.append(len(segment))
                labels.append(label)
            total = sum(lengths)
            file.seek(0)
            if _write_header(file, dtype, total) != start:  # numpy leaves room for the count to grow
                raise AssertionError("the .npy header changed its size")
        if not labels:
            raise DataError(f"{path}: the source holds no samples for this split; check that its files are all there")
        np.save(temporary / "offsets.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
        np.save(temporary / "labels.npy", np.asarray(labels, dtype=np.int64))
        meta = {
            "format": FORMAT,
            "parts": parts,
            "fingerprint": fingerprint,
            "scan": scan,
            "info": info or {},
            "sizes": {name: (temporary / name).stat().st_size for name in ARRAYS},
            "checksums": {name: checksum(temporary / name) for name in ARRAYS},
        }
        (temporary / "meta.json").write_text(json.dumps(meta | {"checksum": _checksum_of(meta)}, indent=1))
    return len(labels)


def _write_header(file: Any, dtype: np.dtype, count: int) -> int:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _map(file: Path, expected: int) -> np.ndarray:
    """A one-dimensional array of the file, whose size is known to be right, as a memory map."""
    with reading(file):
        if file.stat().st_size > SMALL or checksum(file) == expected:
            with open(file, "rb") as handle:
                header = read_header(handle, file.stat().st_size)
            if header and header.dtype.kind in "iuf" and len(header.shape) == 1:
                if file.name == "values.npy" and not header.shape[0]:
                    return np.zeros(0, header.dtype)  # nothing cannot be mapped
                return np.memmap(file, header.dtype, "r", header.offset, header.shape)
    raise DataError(f"{file}: damaged; delete {file.parent} and prepare the task's data again")


def checksum(file: Path) -> int:
    """CRC-32 of a file's bytes."""
    found = 0
    with open(file, "rb") as handle:
        while piece := handle.read(1 << 20):
            found = crc32(piece, found)
    return found


def _checksum_of(meta: dict[str, Any]) -> int:
    return crc32(json.dumps(meta, sort_keys=True).encode())


def _read_meta(path: Path) -> dict[str, Any] | None:
    """The meta data of a whole store, else None (absent, damaged, another format, or a file of another size).

    Raises `DataError` for a store that is there but may not be read: it is not to be written anew.
    """
    with reading(path):
        try:
            if (path / "meta.json").stat().st_size > SMALL:
                return None
            meta = json.loads((path / "meta.json").read_text())
            if meta.pop("checksum") != _checksum_of(meta) or meta["format"] != FORMAT:
                return None
            return meta if all((path / name).stat().st_size == meta["sizes"][name] for name in ARRAYS) else None
        except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError, AttributeError):
            return None
        except RecursionError:  # brackets in brackets
            return None
