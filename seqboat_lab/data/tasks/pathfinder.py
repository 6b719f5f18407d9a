"""Pathfinder, Path-X (128 pixels) and Path-256: do two marked ends belong to one curve? Pixel by pixel."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqboat_lab.config.data import PathfinderConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import data_files
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.generators.parallel import ordered_map
from seqboat_lab.data.generators.pathfinder_files import (
    Row,
    contour_folder,
    generate,
    generated_directory,
    read_image,
    read_metadata,
)  # fmt: skip
from seqboat_lab.data.loading.base import SequenceDataModule
from seqboat_lab.data.loading.batch import Split, TaskSpec
from seqboat_lab.data.loading.encode import Bytes, Real

SHARES = (0.8, 0.1)
"""Training and validation; the rest is test."""


class PathfinderDataModule(SequenceDataModule):
    """Pathfinder from the official PNGs or from the project's own generator."""

    name = "pathfinder"
    config: PathfinderConfig

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(257 if self.config.pixels == "bytes" else None, 2, "classifier", self.config.size**2)

    @property
    def official(self) -> Official | None:
        if self.config.source != "official":
            return None
        folder = contour_folder(self.config.size)
        members = (f"lra_release/lra_release/{folder}", f"lra_release/{folder}")
        return Official(
            "lra_release", members, f"lra_release/{folder}", ("imgs", "metadata"), r"\.(png|npy)$", largest=1 << 26
        )

    @property
    def variant(self) -> str:
        c = self.config
        source = f"official{c.size}" if c.source == "official" else generated_directory(c).parents[1].name
        return f"{source}_split-seed{c.split_seed}{'_without-broken' if c.skip_broken else ''}"

    @property
    def command(self) -> str:
        return f"{super().command} data.size={self.config.size}"

    def directory(self) -> Path:
        """Where imgs/ and metadata/ are, or should be."""
        return generated_directory(self.config) if self.config.source == "generated" else self.official_directory()

    def prepare_source(self) -> None:
        if self.config.source == "generated":
            generate(self.config, self.processes)

    def fingerprint(self, split: Split) -> dict[str, Any]:
        metadata = self.directory() / "metadata"
        if not metadata.is_dir():
            raise self.missing(metadata, "set data.source=generated to use the generator")
        folders = [place for place in self.places(split) if place.is_dir()]
        return fingerprint_of([*folders, *data_files(metadata, ".npy")])

    def places(self, split: Split) -> Sequence[Path]:
        return [self.directory() / "imgs"]

    def rows(self, split: Split) -> list[Row]:
        """The split's images and labels, in the order of torch's random_split with the split's seed."""
        rows = read_metadata(self.directory())
        if len(rows) < 10:
            metadata = self.directory() / "metadata"
            raise DataError(f"{metadata}: lists {len(rows)} images; expected at least 10 to divide into three splits")
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.config.split_seed)).tolist()
        train, val = (int(share * len(rows)) for share in SHARES)
        part = {"train": slice(train), "val": slice(train, train + val), "test": slice(train + val, None)}[split]
        return [rows[i] for i in order[part]]

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        rows = self.rows(split)
        read = partial(_read_chunk, self.config.size)
        chunks = (rows[i : i + 250] for i in range(0, len(rows), 250))
        for chunk in ordered_map(read, chunks, self.processes):
            for pixels, label in chunk:
                if not isinstance(pixels, str):
                    yield (pixels,), label
                elif self.config.skip_broken:
                    warnings.warn(f"{pixels}; left out", stacklevel=2)
                else:
                    raise DataError(f"{pixels}; replace it, or leave such images out with data.skip_broken=true")

    def encoder(self) -> Callable[..., torch.Tensor]:
        return Bytes() if self.config.pixels == "bytes" else Real(0.5, 0.5, 1 / 255)

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [""] * len(ids)  # a pixel has no character


def _read_chunk(size: int, rows: list[Row]) -> list[tuple[np.ndarray | str, int]]:
    """Each image's pixels, or what is wrong with it, and its label."""
    found: list[tuple[np.ndarray | str, int]] = []
    for row in rows:
        try:
            found.append((read_image(row.image, size), row.label))
        except DataError as error:
            found.append((str(error), row.label))
    return found
