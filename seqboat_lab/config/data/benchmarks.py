"""Tasks that classify sequences: the Long Range Arena, Pathfinder and Speech Commands."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least, require, seed
from seqboat_lab.config.data.base import LONGEST, MOST_SAMPLES, DataConfig


@dataclass(frozen=True)
class ListOpsConfig(DataConfig):
    """ListOps (Nangia & Bowman 2018) in the form of the Long Range Arena."""

    source: Literal["official", "generated"] = "official"
    """`official`: the files of the LRA release; `generated`: made on the spot from the fields below."""
    min_length: int = 500
    """Generated trees are longer than this (tokens as LRA counts them)."""
    max_length: int = 2000
    """Generated trees are shorter than this; sequences of the official files are cut here."""
    max_depth: int = 10
    """Depth at which every node is a digit."""
    max_args: int = 10
    """Most arguments of one operator."""
    train_size: int = 96_000
    """Generated training trees."""
    val_size: int = 2_000
    """Generated validation trees."""
    test_size: int = 2_000
    """Generated test trees."""
    generator_seed: int = 0
    """Seed of the generated trees; independent of the experiment's seed."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("min_length", "max_length"):
            at_least(self, name, 1, LONGEST)
        for name in ("train_size", "val_size", "test_size"):
            at_least(self, name, 1, MOST_SAMPLES)
        for name in ("max_depth", "max_args"):
            at_least(self, name, 2, 100)
        seed(self, "generator_seed")
        require(
            self.max_length > self.min_length + 1,
            "max_length",
            self.max_length,
            f"more than min_length + 1 = {self.min_length + 1}, since lengths lie strictly between",
        )
        require(
            self.source == "official" or self.longest_tree > self.min_length,
            "min_length",
            self.min_length,
            f"fewer than the {self.longest_tree} tokens of the largest tree of max_depth = {self.max_depth} and "
            f"max_args = {self.max_args}",
        )

    @property
    def longest_tree(self) -> int:
        """Tokens of the full tree: a digit at `max_depth`, above it operators (2 tokens) with all arguments."""
        tokens = 1
        for _ in range(self.max_depth - 1):
            tokens = 2 + self.max_args * tokens
        return tokens


@dataclass(frozen=True)
class StandInConfig(DataConfig):
    """Tasks whose data cannot be generated: the official files, or a small synthetic stand-in for trying out."""

    source: Literal["official", "synthetic"] = "official"
    """`official`: the benchmark; `synthetic`: an easy made-up task of the same form, never the benchmark."""
    synthetic_samples: int = 2_000
    """Training samples of the synthetic stand-in; validation and test have a quarter each."""
    generator_seed: int = 0
    """Seed of the synthetic stand-in; independent of the experiment's seed."""
    split_seed: int = 42
    """Seed of splits that are drawn (where the official data has none)."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "synthetic_samples", 4, MOST_SAMPLES)
        for name in ("generator_seed", "split_seed"):
            seed(self, name)


@dataclass(frozen=True)
class TextConfig(StandInConfig):
    """Sentiment of IMDb reviews, byte by byte (Maas et al. 2011, in the form of the Long Range Arena)."""

    max_length: int = 4000
    """Bytes of a review that are read; longer ones are cut."""
    validation: Literal["carve", "test"] = "carve"
    """`carve`: a tenth of the training reviews; `test`: the test split, as LRA did (it then chooses on test)."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "max_length", 1, LONGEST)


@dataclass(frozen=True)
class RetrievalConfig(StandInConfig):
    """Whether two papers cite each other (ACL Anthology Network, Radev et al. 2013), byte by byte."""

    max_length: int = 4000
    """Bytes of each document that are read; longer ones are cut."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "max_length", 1, LONGEST)


@dataclass(frozen=True)
class ImageConfig(StandInConfig):
    """CIFAR-10 in grayscale, pixel by pixel (sCIFAR)."""

    size: int = 32
    """Pixels a side; other sizes than 32 only for the synthetic stand-in."""
    pixels: Literal["real", "bytes"] = "real"
    """`real`: one normalised number a pixel; `bytes`: one of 256 ids a pixel."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "size", 4, 1024)
        require(
            self.source == "synthetic" or self.size == 32,
            "size",
            self.size,
            "32 (CIFAR-10's size) for source: official",
        )


PATHFINDER_SIZES = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class PathfinderConfig(DataConfig):
    """Whether two marked ends belong to one curve (Linsley et al. 2018); 128 is Path-X, 256 is Path-256."""

    source: Literal["official", "generated"] = "official"
    """`official`: the files of the LRA release; `generated`: drawn here from the fields below."""
    size: int = 32
    """Pixels a side. 16 is ours, with shorter curves, for quick trials; only generated."""
    images: int = 200_000
    """Generated images in all; 80 % train, 10 % validation, 10 % test."""
    generator_seed: int = 0
    """Seed of the generated images; independent of the experiment's seed."""
    split_seed: int = 42
    """Seed of the division into splits."""
    pixels: Literal["real", "bytes"] = "real"
    """`real`: one normalised number a pixel; `bytes`: one of 256 ids a pixel."""
    skip_broken: bool = False
    """Leave broken images out with a warning instead of stopping (the official 32-pixel set has one)."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "images", 10, MOST_SAMPLES)
        for name in ("generator_seed", "split_seed"):
            seed(self, name)
        require(self.size in PATHFINDER_SIZES, "size", self.size, f"one of {', '.join(map(str, PATHFINDER_SIZES))}")
        require(self.size != 16 or self.source == "generated", "size", self.size, "32 or more for source: official")


@dataclass(frozen=True)
class SpeechCommandsConfig(StandInConfig):
    """Ten spoken words as raw 16 kHz audio (Speech Commands v0.02, Warden 2018)."""

    split: Literal["official", "exact"] = "official"
    """`official`: the published lists; `exact`: only clips of exactly 16,000 samples, 70/15/15 by class, as in
    the S4 line of work."""
    max_length: int = 16_000
    """Samples of a clip that are read."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "max_length", 1, 16_000)  # one second
