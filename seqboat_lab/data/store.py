"""One split of a task on disk: memory-mapped arrays that open at once and are shared by all workers.

A store is a directory with `values.npy` (all samples one after the other), `offsets.npy` (where each segment
starts), `labels.npy` and `meta.json` (format, fingerprint of the source, sizes). It is written beside its
place and lands by a rename, so a store that is there is complete; one whose sizes or fingerprint differ is
rebuilt.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqboat_lab.data.errors import DataError
from seqboat_lab.data.files import landing, reading

FORMAT = 1


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
        self.values = _map(self.path / "values.npy")  # (total,)
        self.offsets = _map(self.path / "offsets.npy")  # (n * parts + 1,)
        self.labels = _map(self.path / "labels.npy")  # (n,)

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
        for row, start, length in zip(rows, starts, lengths, strict=True):
            row[:length] = self.values[start : start + length]
        return rows, lengths


def is_complete(path: Path, fingerprint: dict[str, Any]) -> bool:
    """Whether `path` holds a whole store made from the source with this fingerprint."""
    meta = _read_meta(path)
    return meta is not None and meta["fingerprint"] == fingerprint


def write_store(
    path: Path,
    samples: Iterable[tuple[Sequence[np.ndarray], int]],
    dtype: np.dtype | type,
    fingerprint: dict[str, Any],
    parts: int = 1,
    info: dict[str, Any] | None = None,
) -> int:
    """Stream `samples` (their parts as 1-D arrays, their label) into a store at `path`; returns how many.

    `info` is kept in the store for the reader (such as a training mean); it is read after the last sample.
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
        sizes = {name: (temporary / name).stat().st_size for name in ("values.npy", "offsets.npy", "labels.npy")}
        meta = {
            "format": FORMAT,
            "parts": parts,
            "fingerprint": fingerprint,
            "info": info or {},
            "sizes": sizes,
        }
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1))
    return len(labels)


def fingerprint_of(files: Iterable[Path], **settings: Any) -> dict[str, Any]:
    """What a store was made from: names, sizes and times of its source files, and the reader's settings."""
    stats = [(str(file), file.stat()) for file in files]
    return {"files": [[name, s.st_size, s.st_mtime_ns] for name, s in stats], **settings}


def _write_header(file: Any, dtype: np.dtype, count: int) -> int:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _map(file: Path) -> np.ndarray:
    with reading(file):
        try:
            return np.load(file, mmap_mode="r")
        except (ValueError, EOFError):  # as long as it was, but other bytes
            raise DataError(f"{file}: damaged; delete {file.parent} and prepare the task's data again") from None


def _read_meta(path: Path) -> dict[str, Any] | None:
    """The meta data of a whole store, else None (absent, another format, or a file of another size).

    Raises `DataError` for a store that is there but may not be read: it is not to be written anew.
    """
    with reading(path):
        try:
            meta = json.loads((path / "meta.json").read_text())
            whole = all((path / name).stat().st_size == size for name, size in meta["sizes"].items())
            return meta if whole and meta["format"] == FORMAT else None
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
            return None
