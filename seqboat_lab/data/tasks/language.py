"""Byte-level text: enwik8, text8, and any file or folder. Ids are bytes; nothing is padded.

Whatever the corpus, its bytes lie in one file, and each split is a part of it. Byte t is predicted from the bytes
before it; the first byte of validation and test is predicted from the last byte of the split before, while the very
first byte of the corpus is not predicted at all.
"""

import json
import os
import platform
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from seqboat_lab.config.data import CorpusConfig, LanguageConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import is_data, landing, locked, reading, user_path
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.files.progress import counted
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.loading.batch import SPLITS, Batch, Split, TaskSpec
from seqboat_lab.data.loading.encode import BYTE_CLASSES, byte_class, decode_bytes
from seqboat_lab.data.loading.segments import (
    EvaluationBatches,
    IndependentSegments,
    Segments,
    StreamSegments,
    evaluation_blocks,
    map_bytes,
)
from seqboat_lab.data.loading.store import checksum


class LanguageDataModule(TaskDataModule):
    """Segments of one file. A task says which file it is and where its splits begin."""

    token_classes = BYTE_CLASSES
    config: LanguageConfig

    # What a task defines ------------------------------------------------------------------------------------

    def text_file(self) -> Path:
        """The file with all bytes. Raises `DataError` if it is not there and whole."""
        raise NotImplementedError

    def boundaries(self, size: int) -> tuple[int, int]:
        """The first bytes of validation and test, in a text of `size` bytes."""
        raise NotImplementedError

    def origin(self) -> Path:
        """What the user gave for the text: the file, unless it was made from something else."""
        return self.text_file()

    # What all share -----------------------------------------------------------------------------------------

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(256, 256, "language_model", self.config.tokens_per_sample)

    def setup(self, stage: str | None = None) -> None:
        with reading(self.place):
            self.path, self.bounds = self.text_file(), self.split_bounds()

    def split_bounds(self) -> dict[str, tuple[int, int]]:
        """First and last + 1 byte of each split in the file. Raises `DataError` if one would have none."""
        path = self.text_file()
        size = path.stat().st_size
        val, test = self.boundaries(size)
        bounds: dict[str, tuple[int, int]] = dict(zip(SPLITS, ((0, val), (val, test), (test, size)), strict=True))
        for split, (start, stop) in bounds.items():
            least = 2 if split == "train" else 1
            if stop - start < least:
                raise DataError(
                    f"{self.origin()}: {size} bytes are too short a corpus: the {split} split would have "
                    f"{stop - start}, expected at least {least}; give more text"
                )
        return bounds

    def bounds_of(self, split: Split) -> tuple[int, int]:
        """First and last + 1 byte of a split in `path`, once `setup` was called."""
        return self.bounds[split]

    def sizes(self) -> dict[str, int]:
        return {split: stop - start for split, (start, stop) in self.split_bounds().items()}

    def split_bytes(self, split: Split) -> np.ndarray:
        """The split and nothing else: (n,) uint8, memory-mapped."""
        return map_bytes(self.path, *self.bounds_of(split))

    def scored_bytes(self, split: Split) -> np.ndarray:
        """The split behind the byte that its first one is predicted from: byte t + 1 of it is predicted from
        bytes 0 ... t. (n + 1,) uint8, memory-mapped; of the training split, which nothing precedes, (n,)."""
        return map_bytes(self.path, *self._scored_bounds(split))

    def _scored_bounds(self, split: Split) -> tuple[int, int]:
        start, stop = self.bounds_of(split)
        return max(0, start - 1), stop

    def training_loader(self, rank: int, world: int) -> Iterable[Batch]:
        c, dataset = self.config, self.dataset("train")
        place = {"rank": rank, "world": world, "start_batch": self.start_batch}
        arguments = (len(dataset.text) - 1, c.tokens_per_sample, self.batch_size, self.seed)
        if c.carry_state:
            return self.loader(dataset, StreamSegments(*arguments, streams=c.batch_size, **place))
        return self.loader(dataset, IndependentSegments(*arguments, parts=self.accumulate, **place))

    def evaluation_loader(self, split: Split, rank: int, world: int) -> DataLoader:
        c, dataset = self.config, self.dataset(split)
        blocks = evaluation_blocks(len(dataset.text) - 1, c.tokens_per_sample, c.context)
        return self.loader(dataset, EvaluationBatches(blocks, self.batch_size, rank=rank, world=world))

    def dataset(self, split: Split) -> Segments:
        return Segments(self.path, *self._scored_bounds(split))

    def token_class(self, ids: torch.Tensor) -> torch.Tensor:
        return byte_class(ids)

    def decode(self, ids: Sequence[int]) -> list[str]:
        return decode_bytes([i + 1 for i in ids])


class Enwik8DataModule(LanguageDataModule):
    """The first 100 million bytes of a Wikipedia dump, split as everyone does."""

    name = "enwik8"
    size, val_size, test_size = 100_000_000, 5_000_000, 5_000_000

    @property
    def official(self) -> Official:
        return Official(self.name, (), self.name, (self.name,), single_file=True, size=self.size)

    @property
    def variant(self) -> str:
        return "official"

    @property
    def place(self) -> Path:
        return self.root / self.name

    def prepare_data(self) -> None:
        self.split_bounds()

    def text_file(self) -> Path:
        path = self.official_directory() / self.name
        if not path.is_file():
            raise self.missing(path, "train on what is here: `seqboat fit text_tiny`")
        if path.stat().st_size != self.size:
            raise DataError(
                f"{path}: has {path.stat().st_size:,} bytes, expected {self.size:,}; delete it and run `{self.command}`"
            )
        return path

    def boundaries(self, size: int) -> tuple[int, int]:
        return size - self.test_size - self.val_size, size - self.test_size


class Text8DataModule(Enwik8DataModule):
    """100 million letters and spaces, of the same layout."""

    name = "text8"


class CorpusDataModule(LanguageDataModule):
    """A file as it is, or a folder's files joined in the order of their names."""

    name = "corpus"
    config: CorpusConfig

    @property
    def folder(self) -> Path | None:
        """The folder that is read; None if it is a file."""
        return None if self.given.is_file() else self.given

    @property
    def given(self) -> Path:
        """The file or folder that is read."""
        return standard_library() if self.config.path is None else user_path(self.config.path, "data.path")

    @property
    def variant(self) -> str:
        c = self.config
        if c.path is None:
            return f"standard-library-{platform.python_version()}"
        path = self.given.resolve()
        identity = os.fsencode(path) + b"\0" + c.pattern.encode(errors="surrogateescape")
        return f"{path.name[:100]}-{sha256(identity).hexdigest()[:8]}"

    @property
    def place(self) -> Path:
        if self.folder is None:
            return self.given
        return self.root / "prepared" / self.name / self.variant

    def text_file(self) -> Path:
        if self.folder is None:
            return self.place
        path = self.place / "text"
        if not path.is_file():
            raise DataError(f"{path}: no such file; run `{self.command}`")
        return path

    def origin(self) -> Path:
        return self.folder or self.place

    def boundaries(self, size: int) -> tuple[int, int]:
        test = int(size * self.config.test_fraction)
        return size - test - int(size * self.config.val_fraction), size - test

    def prepare_data(self) -> None:
        """Join the folder, unless that is done. Any number of processes may call it at the same time."""
        if self.folder is not None:
            with reading(self.folder):
                files = self.files()
                fingerprint = fingerprint_of([self.folder / name for name in files])
            if not self._is_joined(fingerprint):
                with locked(self.place):
                    if not self._is_joined(fingerprint):  # another process may have been first
                        self._join(files, fingerprint)
        else:
            for _ in read_pieces(self.place, at_most=1):  # told here, not by a memory map
                pass
        self.split_bounds()

    def files(self) -> list[Path]:
        """The folder's files that match the pattern, in a fixed order, relative to it."""
        folder, c = self.folder, self.config
        assert folder is not None  # a file is not asked for its files
        if not folder.is_dir():
            raise DataError(f"{folder}: no such file or folder; set data.path to a text or a folder of texts")
        pattern, left_out = (c.pattern, ()) if c.path else ("*.py", NOT_THE_LIBRARY)
        try:
            found = [path for path in folder.rglob(pattern) if path.is_file() and not self._is_ours(path)]
        except (ValueError, NotImplementedError, IndexError) as error:
            raise DataError(
                f"data.pattern={pattern!r}: no pattern of files ({error}); expected one like *.txt"
            ) from None
        names = [path.relative_to(folder) for path in found]
        names = [n for n in names if all(is_data(part) and part not in left_out for part in n.parts)]
        if not names:
            raise DataError(f"{folder}: no file here matches {pattern!r}; set data.pattern or another data.path")
        return sorted(names, key=lambda name: name.as_posix())

    def _is_ours(self, path: Path) -> bool:
        """Whether a file was written by us, so that a folder around `data.root` is not read with what was made of it.
        Of a folder under it, which somebody put there, everything is read but what lies where we write."""
        root, folder, path = self.root.resolve(), self.given.resolve(), path.resolve()
        if not folder.is_relative_to(root):
            return path.is_relative_to(root)
        written = [root / name for name in ("prepared", "downloads")]
        return any(path.is_relative_to(place) and not folder.is_relative_to(place) for place in written)

    def _is_joined(self, fingerprint: dict[str, Any]) -> bool:
        """Whether the joined text is there, whole, and made from these files; `data prepare` reads all of it."""
        text = self.place / "text"
        try:
            noted = json.loads((self.place / "made_from.json").read_text())
            if noted["fingerprint"] != fingerprint or text.stat().st_size != noted["size"]:
                return False
            return not self.thorough or checksum(text) == noted["checksum"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return False

    def _join(self, files: list[Path], fingerprint: dict[str, Any]) -> None:
        with landing(self.place) as temporary:
            temporary.mkdir()
            with open(temporary / "text", "wb") as text:
                for name in counted(files, f"joining {self.folder}", len(files)):
                    for piece in read_pieces(self.given / name):
                        text.write(piece)
            size = (temporary / "text").stat().st_size
            noted = {"fingerprint": fingerprint, "size": size, "checksum": checksum(temporary / "text")}
            (temporary / "made_from.json").write_text(json.dumps(noted))


NOT_THE_LIBRARY = ("site-packages", "dist-packages", "test", "tests", "idle_test")
"""What lies among Python's own sources on some machines only: installed packages and tests."""


def standard_library() -> Path:
    """The folder of Python's own sources."""
    return Path(sysconfig.get_paths()["stdlib"])


def read_pieces(path: Path, at_most: int = -1) -> Iterator[bytes]:
    """A file's bytes, or its first ones. Raises `DataError` naming it if it cannot be read."""
    try:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20 if at_most < 0 else at_most):
                yield piece
                if at_most >= 0:
                    return
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check its permissions or set another data.path"
        ) from None
